# The program: a host with Lua, the engine and all Lua files inside.
include_guard()
include(${CMAKE_CURRENT_LIST_DIR}/LazyLibraries.cmake)

# Lua itself: the static library, whole, so that providers written in C find every function of it.
find_library(LUARIUM_LUA_STATIC NAMES liblua5.4.a PATHS ${LUA_LIBRARY_DIRS})
add_library(luarium_lua INTERFACE)
target_include_directories(luarium_lua INTERFACE ${LUA_INCLUDE_DIRS})
if(LUARIUM_LUA_STATIC)
  target_link_options(luarium_lua INTERFACE "LINKER:--whole-archive" "${LUARIUM_LUA_STATIC}" "LINKER:--no-whole-archive")
  target_link_libraries(luarium_lua INTERFACE m ${CMAKE_DL_LIBS})
else()
  target_link_libraries(luarium_lua INTERFACE PkgConfig::LUA)
endif()

# JSON: linked when the package with the static library is there, else found on the system when the program runs.
find_library(LUARIUM_CJSON_STATIC NAMES liblua5.4-cjson.a)

# Every module by name. What is in providers/ is called luarium.providers.NAME.
file(GLOB_RECURSE LUARIUM_LUA_FILES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/lua/luarium/*.lua)
file(GLOB LUARIUM_PROVIDER_FILES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/providers/*.lua)
list(FILTER LUARIUM_LUA_FILES EXCLUDE REGEX "/lua/luarium/providers/")
set(modules "")
foreach(file IN LISTS LUARIUM_LUA_FILES)
  file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR}/lua ${file})
  string(REGEX REPLACE "(/init)?\\.lua$" "" name ${name})
  string(REPLACE "/" "." name ${name})
  list(APPEND modules "${name}=${file}")
endforeach()
foreach(file IN LISTS LUARIUM_PROVIDER_FILES)
  get_filename_component(name ${file} NAME_WE)
  list(APPEND modules "luarium.providers.${name}=${file}")
endforeach()

add_executable(luarium_embed cmake/embed.c)
target_link_libraries(luarium_embed PRIVATE luarium_flags PkgConfig::LUA)
set_target_properties(luarium_embed PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tools)
add_custom_command(
  OUTPUT ${CMAKE_BINARY_DIR}/embedded.c
  COMMAND luarium_embed ${CMAKE_BINARY_DIR}/embedded.c ${CMAKE_SOURCE_DIR} ${modules}
  DEPENDS luarium_embed ${LUARIUM_LUA_FILES} ${LUARIUM_PROVIDER_FILES}
  COMMENT "Embedding the Lua files" VERBATIM)

add_executable(luarium src/main.c src/embedded.c ${CMAKE_BINARY_DIR}/embedded.c $<TARGET_OBJECTS:luarium_bind>)
target_link_libraries(luarium PRIVATE luarium_flags luarium_lua)
luarium_link_lazily(luarium luarium_core CURL ARCHIVE CRYPTO SSL ZLIB SSH2)
target_compile_definitions(luarium PRIVATE LUARIUM_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                           LUARIUM_BUILD_DIR="${CMAKE_BINARY_DIR}")
if(LUARIUM_CJSON_STATIC)
  target_compile_definitions(luarium PRIVATE LUARIUM_HAVE_CJSON)
  target_link_libraries(luarium PRIVATE ${LUARIUM_CJSON_STATIC})
endif()
set_target_properties(luarium PROPERTIES ENABLE_EXPORTS ON RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

# The embeddable library, for programs that bring their own Lua 5.4: include/luarium.h.
add_library(luarium_library SHARED src/embedded.c src/host.c ${CMAKE_BINARY_DIR}/embedded.c $<TARGET_OBJECTS:luarium_bind>)
target_include_directories(luarium_library PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>)
set_target_properties(luarium_library PROPERTIES EXPORT_NAME luarium)
target_link_libraries(luarium_library PRIVATE luarium_flags luarium_core PUBLIC PkgConfig::LUA)
set_target_properties(luarium_library PROPERTIES OUTPUT_NAME luarium VERSION ${PROJECT_VERSION} SOVERSION 0)

# Hosts: those that the documentation shows, and one for the specs.
foreach(host docs/embedding/frame_loop.c docs/embedding/poll_loop.c spec/support/embedding_host.c
        spec/support/embedding_script.c spec/support/embedding_memory.c spec/support/embedding_threads.c
        spec/support/forking_host.c)
  get_filename_component(name ${host} NAME_WE)
  add_executable(${name} EXCLUDE_FROM_ALL ${host})
  target_link_libraries(${name} PRIVATE luarium_flags luarium_library Threads::Threads m)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tools)
  list(APPEND hosts ${name})
endforeach()
add_custom_target(embedding_hosts DEPENDS ${hosts})
