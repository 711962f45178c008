# What a host finds: headers, a CMake package, a pkg-config file, and the library; all of it may be moved together.
#
# A wheel, whose package folder is the prefix, has the amalgamation in place of the library: its extension modules hold all
# kernels already, and an archive of every instruction set is 4.4 MB more of compressed wheel, the amalgamation 0.45. There the
# CMake package builds kexue::core in the host's build, with the host's compiler.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(KEXUE_BUILD_PYTHON)
  set(CMAKE_INSTALL_LIBDIR lib)
  set(CMAKE_INSTALL_INCLUDEDIR include)
endif()
set(cmake_destination "${CMAKE_INSTALL_LIBDIR}/cmake/kexue")
set(pkgconfig_destination "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(DIRECTORY "${include_dir}/kexue" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT kexue FILES_MATCHING PATTERN "*.h")
if(KEXUE_BUILD_PYTHON)
  install(FILES "${CMAKE_CURRENT_SOURCE_DIR}/CMakeLists.txt" DESTINATION source COMPONENT kexue)
  install(DIRECTORY "${CMAKE_CURRENT_LIST_DIR}" DESTINATION source COMPONENT kexue FILES_MATCHING
          PATTERN kexue_core.cmake PATTERN kexue_install.cmake PATTERN "*.in")
  set(config kexueSourceConfig.cmake.in)
else()
  install(TARGETS kexue_core EXPORT kexue ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT kexue
          INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(EXPORT kexue NAMESPACE kexue:: FILE kexueTargets.cmake DESTINATION "${cmake_destination}" COMPONENT kexue)
  set(config kexueConfig.cmake.in)
endif()

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/${config}" "${CMAKE_CURRENT_BINARY_DIR}/kexueConfig.cmake"
                              INSTALL_DESTINATION "${cmake_destination}" NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may break what a host compiled against.
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(compatibility SameMinorVersion)
else()
  set(compatibility SameMajorVersion)
endif()
set(architecture "")
if(KEXUE_BUILD_PYTHON)
  set(architecture ARCH_INDEPENDENT)
endif()
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/kexueConfigVersion.cmake" COMPATIBILITY ${compatibility} ${architecture})
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/kexueConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/kexueConfigVersion.cmake"
        DESTINATION "${cmake_destination}" COMPONENT kexue)

# Relative to the file itself, unless the folders that were asked for are absolute.
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
set(pc_variables "libdir=${pc_libdir}")
set(pc_libraries "-L\${libdir} -lkexue_core")
if(KEXUE_BUILD_PYTHON)
  set(pc_variables "source=\${prefix}/source\namalgamation=\${prefix}/amalgamation/kexue.c")
  set(pc_libraries "")
endif()
if(UNIX)
  string(APPEND pc_libraries " -lm -lpthread")
endif()
string(STRIP "${pc_libraries}" pc_libraries)
configure_file("${CMAKE_CURRENT_LIST_DIR}/kexue.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/kexue.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/kexue.pc" DESTINATION "${pkgconfig_destination}" COMPONENT kexue)
