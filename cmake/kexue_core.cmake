# The static library kexue::core. A kernel file is compiled once per instruction set and once as its dispatcher
# (src/_core/isa/kernel.h); everything else is compiled once, for the baseline. Nothing here changes a variable of a host
# that adds this folder: whatever the sources need stands in the targets' properties.
set(core_dir "${CMAKE_CURRENT_LIST_DIR}/../src/_core")
cmake_path(NORMAL_PATH core_dir)
if(EXISTS "${core_dir}")
  set(include_dir "${core_dir}/include")
  file(GLOB kernel_sources CONFIGURE_DEPENDS "${core_dir}/kernels/*.c")
  file(GLOB common_sources CONFIGURE_DEPENDS "${core_dir}/runtime/*.c" "${core_dir}/isa/*.c")
else() # in a wheel, which has the sources once: the amalgamation is compiled in as many passes
  cmake_path(SET package_dir NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../..")
  set(include_dir "${package_dir}/include")
  set(kernel_sources "${package_dir}/amalgamation/kexue.c")
  set(common_sources "")
endif()

find_package(Threads REQUIRED GLOBAL) # a host links kexue::core from its own folder
include(CheckCCompilerFlag)

add_library(kexue_flags INTERFACE)
target_include_directories(kexue_flags INTERFACE "${core_dir}" "${include_dir}")
if(MSVC)
  target_compile_options(kexue_flags INTERFACE /W4 /fp:precise)
  target_compile_options(kexue_flags INTERFACE $<IF:$<BOOL:${KEXUE_WERROR}>,/WX,/WX->)
else()
  # No contraction: an FMA is written where it is meant, so that every instruction set's rounding is known. errno is not ours.
  # A host's -ffast-math would cost infinities, NaNs and compensated sums.
  target_compile_options(kexue_flags INTERFACE -Wall -Wextra -Wconversion -pedantic -fno-fast-math -ffp-contract=off -fno-math-errno
                                               -ffunction-sections)
  # C unwinds nothing: 0.1 MB of the compressed wheel.
  target_compile_options(kexue_flags INTERFACE $<$<CONFIG:Release,MinSizeRel>:-fno-asynchronous-unwind-tables>)
  # An archive of bitcode would only serve the very compiler that made it.
  target_compile_options(kexue_flags INTERFACE -fno-lto)
  # A host's -Werror is not for these sources: another compiler has other warnings.
  target_compile_options(kexue_flags INTERFACE $<IF:$<BOOL:${KEXUE_WERROR}>,-Werror,-Wno-error>)
endif()
if(KEXUE_SANITIZE)
  target_compile_options(kexue_flags INTERFACE -fsanitize=${KEXUE_SANITIZE} -fno-omit-frame-pointer -g)
  target_link_options(kexue_flags INTERFACE -fsanitize=${KEXUE_SANITIZE})
endif()
if(KEXUE_COVERAGE)
  # -O1, which comes after the levels' own -O3: lines stay lines. Atomic counters: gcov takes some lines' counts from
  # differences of others, which threads would falsify. gcc sees less at -O1 and warns of what it cannot follow: the preset
  # has KEXUE_WERROR off.
  target_compile_options(kexue_flags INTERFACE -O1 --coverage -fprofile-update=atomic)
  target_link_options(kexue_flags INTERFACE --coverage)
endif()

set(kexue_levels baseline)
set(kexue_baseline_optimization -O3)
set(kexue_v3_optimization -O3)
set(kexue_v4_optimization -O3)
if(NOT KEXUE_BASELINE_ONLY AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT CMAKE_OSX_ARCHITECTURES MATCHES "arm64")
  if(MSVC)
    set(kexue_v3_flags /arch:AVX2)
    set(kexue_v4_flags /arch:AVX512)
    list(APPEND kexue_levels v3 v4)
  else()
    # prefer-vector-width: gcc's generic tuning would keep AVX-512 code at 32 bytes.
    set(kexue_v3_flags -march=x86-64-v3)
    set(kexue_v4_flags -march=x86-64-v4 -mprefer-vector-width=512)
    check_c_compiler_flag(-march=x86-64-v3 KEXUE_COMPILER_HAS_V3)
    check_c_compiler_flag(-march=x86-64-v4 KEXUE_COMPILER_HAS_V4)
    if(KEXUE_COMPILER_HAS_V3)
      list(APPEND kexue_levels v3)
      # Processors older than AVX2 alone run this one: a quarter smaller. -Os would halve it, and take 2 to 8 times as long.
      set(kexue_baseline_optimization -O2)
    endif()
    if(KEXUE_COMPILER_HAS_V4)
      list(APPEND kexue_levels v4)
    endif()
  endif()
endif()
function(kexue_set_properties target)
  set_target_properties(${target} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF C_VISIBILITY_PRESET hidden
                                             POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION OFF
                                             COMPILE_WARNING_AS_ERROR OFF)
endfunction()

# Where its loops lie decides a third: rms_norm of 8192 x 768 float32 took 1.8 to 2.8 ms after changes elsewhere in the file.
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  set_source_files_properties("${core_dir}/kernels/layer_norm.c" PROPERTIES COMPILE_OPTIONS -falign-loops=64)
endif()
foreach(level IN LISTS kexue_levels)
  add_library(kexue_kernels_${level} OBJECT ${kernel_sources})
  kexue_set_properties(kexue_kernels_${level})
  target_compile_definitions(kexue_kernels_${level} PRIVATE KX_ISA=${level})
  target_compile_options(kexue_kernels_${level} PRIVATE ${kexue_${level}_flags})
  target_link_libraries(kexue_kernels_${level} PRIVATE kexue_flags)
  if(NOT MSVC)
    target_compile_options(kexue_kernels_${level} PRIVATE $<$<NOT:$<CONFIG:Debug>>:${kexue_${level}_optimization}>)
  endif()
endforeach()

add_library(kexue_core STATIC ${common_sources} ${kernel_sources})
add_library(kexue::core ALIAS kexue_core)
kexue_set_properties(kexue_core)
set_target_properties(kexue_core PROPERTIES EXPORT_NAME core)
foreach(level IN LISTS kexue_levels)
  string(TOUPPER ${level} upper)
  target_compile_definitions(kexue_core PRIVATE KX_HAVE_${upper})
  target_sources(kexue_core PRIVATE $<TARGET_OBJECTS:kexue_kernels_${level}>)
endforeach()
target_link_libraries(kexue_core PRIVATE $<BUILD_INTERFACE:kexue_flags> PUBLIC Threads::Threads)
target_include_directories(kexue_core PUBLIC $<BUILD_INTERFACE:${include_dir}>)
if(UNIX)
  target_link_libraries(kexue_core PUBLIC m)
endif()
