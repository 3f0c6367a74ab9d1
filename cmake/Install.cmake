# What is installed: the program, the library with its header for hosts, the modules for stock Lua 5.4 and LuaJIT.
include_guard()
include(CMakePackageConfigHelpers)

install(TARGETS luarium RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

# The manual and what shells complete are printed by the program itself.
if(NOT LUARIUM_SANITIZE)
  set(shell_dir ${CMAKE_BINARY_DIR}/shell)
  add_custom_command(
    OUTPUT ${shell_dir}/luarium.1 ${shell_dir}/luarium.bash ${shell_dir}/_luarium ${shell_dir}/luarium.fish
    COMMAND ${CMAKE_COMMAND} -E make_directory ${shell_dir}
    COMMAND luarium help --man > ${shell_dir}/luarium.1
    COMMAND luarium completion bash > ${shell_dir}/luarium.bash
    COMMAND luarium completion zsh > ${shell_dir}/_luarium
    COMMAND luarium completion fish > ${shell_dir}/luarium.fish
    DEPENDS luarium COMMENT "Writing the manual and the completions" VERBATIM)
  add_custom_target(luarium_shell ALL DEPENDS ${shell_dir}/luarium.1)
  install(FILES ${shell_dir}/luarium.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${shell_dir}/luarium.bash DESTINATION share/bash-completion/completions RENAME luarium)
  install(FILES ${shell_dir}/_luarium DESTINATION share/zsh/site-functions)
  install(FILES ${shell_dir}/luarium.fish DESTINATION share/fish/vendor_completions.d)
endif()

# What the program's help and its hints speak of.
install(FILES README.md CHANGELOG.md LICENSE DESTINATION share/doc/luarium)
install(DIRECTORY docs scripts DESTINATION share/doc/luarium)

# For hosts: pkg-config and find_package(Luarium).
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Luarium)
install(TARGETS luarium_library EXPORT LuariumTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES include/luarium.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT LuariumTargets NAMESPACE Luarium:: DESTINATION ${package_dir})
# In a folder of their own: CMake takes each folder of PATH for a prefix, and the build folder may be there. What an
# older CMakeLists.txt has left goes.
set(package_files ${CMAKE_BINARY_DIR}/package_files)
file(REMOVE ${CMAKE_BINARY_DIR}/LuariumConfig.cmake ${CMAKE_BINARY_DIR}/LuariumConfigVersion.cmake)
configure_package_config_file(cmake/LuariumConfig.cmake.in ${package_files}/LuariumConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${package_files}/LuariumConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${package_files}/LuariumConfig.cmake ${package_files}/LuariumConfigVersion.cmake
        DESTINATION ${package_dir})

# The file finds its own prefix, so the tree may be moved.
file(RELATIVE_PATH LUARIUM_PC_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/luarium.pc.in ${CMAKE_BINARY_DIR}/luarium.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/luarium.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# For `require "luarium"`.
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr") # a distribution's own folders
  set(cmodule_default ${CMAKE_INSTALL_LIBDIR}/lua)
else()
  set(cmodule_default lib/lua)
endif()
set(LUARIUM_CMODULE_DIR ${cmodule_default} CACHE STRING "Where Lua's modules in C go; the version is added")
function(install_modules native version)
  install(TARGETS ${native} LIBRARY DESTINATION ${LUARIUM_CMODULE_DIR}/${version}/luarium)
  install(DIRECTORY lua/luarium DESTINATION share/lua/${version} FILES_MATCHING PATTERN "*.lua"
          PATTERN "luarium/providers" EXCLUDE)
  # A folder, not files: what is there when it is installed, not when CMake last looked.
  install(DIRECTORY providers/ DESTINATION share/lua/${version}/luarium/providers FILES_MATCHING PATTERN "*.lua")
endfunction()
install_modules(luarium_native 5.4)
if(LUARIUM_LUAJIT)
  install_modules(luarium_native_jit 5.1)
endif()

# cpack -G DEB
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME luarium)
set(CPACK_PACKAGE_CONTACT "Luarium developers <luarium@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS lua-cjson)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "git, ca-certificates, libedit2")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "bubblewrap, docker.io | podman, lua5.4, luajit, liblua5.4-dev, pkg-config")
include(CPack)
