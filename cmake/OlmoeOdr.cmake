# The target `odr`: one link of the objects of all programs, with what -flto has written into
# them. It makes nothing; it fails where two files give one name two types, such as
# `struct Window` twice in one namespace with different members, bases or enumerators. Neither
# the compiler nor an ordinary link sees that: the linker takes one of the two destructors for
# both. Types in unnamed namespaces may share a name; bodies of functions are not compared.
#
# It is one link because that costs least, and so a name is one type in the whole tree.

# The executables and libraries of `folder` and of the folders below it.
function(olmoe_targets_below out_var folder)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(subfolders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach(subfolder IN LISTS subfolders)
    olmoe_targets_below(below ${subfolder})
    list(APPEND targets ${below})
  endforeach()
  set(${out_var} ${targets} PARENT_SCOPE)
endfunction()

# Not proto/: generated, and its headers are in the others' objects.
foreach(folder server client tests bench)
  olmoe_targets_below(targets ${PROJECT_SOURCE_DIR}/${folder})
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    if(type MATCHES "^(EXECUTABLE|STATIC_LIBRARY)$")
      list(APPEND objects $<TARGET_OBJECTS:${target}>)
    endif()
  endforeach()
endforeach()
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/odr.objects CONTENT "$<JOIN:${objects},\n>\n")
add_custom_command(
  OUTPUT odr.stamp
  # To a relocatable object of bytecode: nothing is compiled. muldefs: every program has its main.
  COMMAND ${CMAKE_CXX_COMPILER} -O0 -flto -r -flinker-output=rel -Wl,-z,muldefs -Werror=odr
          -Wno-lto-type-mismatch @odr.objects -o odr.o
  COMMAND ${CMAKE_COMMAND} -E rm odr.o
  COMMAND ${CMAKE_COMMAND} -E touch odr.stamp
  DEPENDS ${objects} ${CMAKE_BINARY_DIR}/odr.objects
  COMMENT "Comparing the types of all objects" VERBATIM)
add_custom_target(odr DEPENDS odr.stamp)
