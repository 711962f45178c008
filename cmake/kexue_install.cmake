# What a host finds: the library, its headers, a CMake package and a pkg-config file. In a wheel the package's own folder is
# the prefix, so that the same files stand at the same places below it, and all of them may be moved together.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(installed_core kexue_core)
if(KEXUE_BUILD_PYTHON)
  set(CMAKE_INSTALL_LIBDIR lib)
  set(CMAKE_INSTALL_INCLUDEDIR include)
  if(NOT kexue_levels STREQUAL baseline)
    # The extension modules hold every level already; a second copy of them all would double the wheel.
    kexue_add_core(kexue_archive baseline)
    set_target_properties(kexue_archive PROPERTIES ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/archive")
    set(installed_core kexue_archive)
  endif()
endif()
set(cmake_destination "${CMAKE_INSTALL_LIBDIR}/cmake/kexue")
set(pkgconfig_destination "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(TARGETS ${installed_core} EXPORT kexue ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT kexue
        INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY "${core_dir}/include/kexue" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT kexue FILES_MATCHING PATTERN "*.h")
install(EXPORT kexue NAMESPACE kexue:: FILE kexueTargets.cmake DESTINATION "${cmake_destination}" COMPONENT kexue)

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/kexueConfig.cmake.in" "${CMAKE_CURRENT_BINARY_DIR}/kexueConfig.cmake"
                              INSTALL_DESTINATION "${cmake_destination}" NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may break what a host compiled against, see CHANGELOG.md.
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(compatibility SameMinorVersion)
else()
  set(compatibility SameMajorVersion)
endif()
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/kexueConfigVersion.cmake" COMPATIBILITY ${compatibility})
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/kexueConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/kexueConfigVersion.cmake"
        DESTINATION "${cmake_destination}" COMPONENT kexue)

# Relative to the file itself, unless the host chose absolute folders.
set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
if(NOT IS_ABSOLUTE "${pkgconfig_destination}")
  file(RELATIVE_PATH up "/${pkgconfig_destination}" "/")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(pc_prefix "\${pcfiledir}/${up}")
endif()
foreach(kind IN ITEMS LIB INCLUDE)
  string(TOLOWER ${kind} lower)
  set(pc_${lower}dir "\${prefix}/${CMAKE_INSTALL_${kind}DIR}")
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${kind}DIR}")
    set(pc_${lower}dir "${CMAKE_INSTALL_${kind}DIR}")
  endif()
endforeach()
set(pc_libraries "-L\${libdir} -lkexue_core")
if(UNIX)
  string(APPEND pc_libraries " -lm -lpthread")
endif()
configure_file("${CMAKE_CURRENT_LIST_DIR}/kexue.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/kexue.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/kexue.pc" DESTINATION "${pkgconfig_destination}" COMPONENT kexue)
