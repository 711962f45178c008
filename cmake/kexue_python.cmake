# The extension modules: one per .pyx of src/_core/cython, each linked with the static core.
# scikit-build-core names the component where a wheel for the stable ABI is asked for (docs/wheels.md).
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module NumPy ${SKBUILD_SABI_COMPONENT})
set(stable_abi "")
if(SKBUILD_SABI_COMPONENT)
  set(stable_abi USE_SABI ${SKBUILD_SABI_VERSION})
endif()
if(NOT SKBUILD) # which adds cython-cmake's folder itself
  execute_process(COMMAND "${Python_EXECUTABLE}" -c "import cython_cmake; print(cython_cmake.__path__[0])"
                  OUTPUT_VARIABLE cython_cmake_dir OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  list(APPEND CMAKE_MODULE_PATH "${cython_cmake_dir}/cmake")
endif()
# A version range is what this module honours; REQUIRED VERSION x would be read as a component.
find_package(Cython 3.1...<3.4 MODULE REQUIRED)
include(UseCython)

set(cython_dir "${CMAKE_CURRENT_LIST_DIR}/../src/_core/cython")
cmake_path(NORMAL_PATH cython_dir)
file(GLOB modules CONFIGURE_DEPENDS "${cython_dir}/*.pyx")
list(JOIN kexue_levels " " compiled_isas)
foreach(source IN LISTS modules)
  cmake_path(GET source STEM module)
  cython_transpile("${source}" LANGUAGE C MODULE_NAME kexue.${module} OUTPUT_VARIABLE generated
                   INCLUDE_DIRECTORIES "${cython_dir}"
                   CYTHON_ARGS -X language_level=3 -X boundscheck=False -X wraparound=False -X cdivision=True
                               -X initializedcheck=False -X embedsignature=True -X freethreading_compatible=True)
  python_add_library(${module} MODULE ${stable_abi} WITH_SOABI "${generated}")
  kexue_set_properties(${module})
  target_compile_definitions(${module} PRIVATE NPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION NPY_TARGET_VERSION=NPY_2_0_API_VERSION
                             KX_COMPILED_ISAS="${compiled_isas}")
  target_include_directories(${module} PRIVATE "${cython_dir}")
  target_link_libraries(${module} PRIVATE kexue_core Python::NumPy)
  if(NOT MSVC) # what Cython writes gains nothing by -O3 and is a tenth larger
    target_compile_options(${module} PRIVATE $<$<CONFIG:Release>:-O2>)
  endif()
  if(UNIX AND NOT APPLE)
    target_link_options(${module} PRIVATE -Wl,--gc-sections -Wl,--exclude-libs,ALL)
  endif()
  if(KEXUE_SANITIZE)
    target_link_options(${module} PRIVATE -fsanitize=${KEXUE_SANITIZE})
  endif()
  install(TARGETS ${module} DESTINATION .)
endforeach()
install(FILES "${cython_dir}/kexue/core.pxd" "${cython_dir}/kexue/capi.pxd" DESTINATION .)
