# Libraries that the program opens when one of their functions is first called. Half of them would otherwise be most of
# its start: libcurl and libarchive bring thirty others along. Linking is as usual where this is not known to work.
include_guard()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8 AND NOT LUARIUM_SANITIZE)
  set(lazy_default ON)
else()
  set(lazy_default OFF)
endif()
option(LUARIUM_LAZY "Open libcurl, libarchive, libssh2 and libcrypto when they are first used" ${lazy_default})

# luarium_link_lazily(TARGET ARCHIVE LIBRARY...): links TARGET to a static library of ours and to what that needs; of
# that, the named LIBRARY prefixes (as given to pkg_check_modules) lazily.
function(luarium_link_lazily target archive)
  if(NOT LUARIUM_LAZY)
    target_link_libraries(${target} PRIVATE ${archive})
    return()
  endif()
  get_target_property(needed ${archive} INTERFACE_LINK_LIBRARIES)
  set(files "")
  foreach(prefix IN LISTS ARGN)
    list(REMOVE_ITEM needed "PkgConfig::${prefix}")
    list(GET ${prefix}_LINK_LIBRARIES 0 file)
    list(APPEND files ${file})
  endforeach()
  set(stubs ${CMAKE_BINARY_DIR}/lazy_stubs.c)
  add_custom_command(
    OUTPUT ${stubs}
    COMMAND ${CMAKE_COMMAND} "-DNM=${CMAKE_NM}" "-DREADELF=${CMAKE_READELF}" "-DARCHIVE=$<TARGET_FILE:${archive}>"
            "-DLIBRARIES=${files}" "-DOUT=${stubs}" -P ${CMAKE_SOURCE_DIR}/cmake/lazy_stubs.cmake
    DEPENDS ${archive} ${CMAKE_SOURCE_DIR}/cmake/lazy_stubs.cmake
    COMMENT "Writing stubs for libraries that are opened later" VERBATIM)
  target_sources(${target} PRIVATE ${stubs} ${CMAKE_SOURCE_DIR}/src/lazy.c)
  target_link_libraries(${target} PRIVATE $<TARGET_FILE:${archive}> ${needed} ${CMAKE_DL_LIBS})
  add_dependencies(${target} ${archive})
endfunction()
