# kexue.h and kexue.c in one piece (tools/amalgamate.py), as data of the Python package: kexue/amalgamation.
set(amalgamation_dir "${CMAKE_CURRENT_BINARY_DIR}/amalgamation")
set(amalgamate "${CMAKE_CURRENT_LIST_DIR}/../tools/amalgamate.py")
cmake_path(NORMAL_PATH amalgamate)
file(GLOB_RECURSE amalgamation_sources CONFIGURE_DEPENDS "${core_dir}/include/*.h" "${core_dir}/isa/*.[ch]"
     "${core_dir}/kernels/*.[ch]" "${core_dir}/runtime/*.[ch]")
add_custom_command(OUTPUT "${amalgamation_dir}/kexue.h" "${amalgamation_dir}/kexue.c"
                   COMMAND "${Python_EXECUTABLE}" "${amalgamate}" "${amalgamation_dir}"
                   DEPENDS "${amalgamate}" ${amalgamation_sources} "${CMAKE_CURRENT_LIST_DIR}/../LICENSE"
                   COMMENT "Writing kexue.h and kexue.c" VERBATIM)
add_custom_target(kexue_amalgamation ALL DEPENDS "${amalgamation_dir}/kexue.h" "${amalgamation_dir}/kexue.c")
install(FILES "${amalgamation_dir}/kexue.h" "${amalgamation_dir}/kexue.c" DESTINATION amalgamation)
