# What is installed, in components, and Debian packages of them by CPack: of a serving build the server, the client and the
# library for clients in C++, which proto/ installs; of a whole one the trainer. scripts/package.sh makes both builds.
set(data ${CMAKE_INSTALL_DATADIR})

install(TARGETS denoised denoised-capacity COMPONENT server)
denoised_install_manuals(server denoised denoised-capacity)
install(FILES models/mnist.pt models/README.md DESTINATION ${data}/denoised COMPONENT server)
install(DIRECTORY proto/denoised proto/google proto/grpc DESTINATION ${data}/denoised/proto COMPONENT server
        FILES_MATCHING PATTERN "*.proto")
# systemd's unit, with the prefix that is chosen when it is installed.
install(CODE "
  file(READ \"${PROJECT_SOURCE_DIR}/deploy/denoised.service\" unit)
  string(REPLACE \"/usr/local/bin\" \"\${CMAKE_INSTALL_PREFIX}/bin\" unit \"\${unit}\")
  file(WRITE \"${CMAKE_BINARY_DIR}/denoised.service\" \"\${unit}\")" COMPONENT server)
install(FILES ${CMAKE_BINARY_DIR}/denoised.service DESTINATION lib/systemd/system COMPONENT server)

install(TARGETS denoise COMPONENT client)
denoised_install_manuals(client denoise)

set(CPACK_COMPONENTS_ALL server client development)
if(NOT DENOISED_SERVING_ONLY)
  install(TARGETS denoise-train denoise-eval COMPONENT trainer)
  denoised_install_manuals(trainer denoise-train denoise-eval)
  install(DIRECTORY models/judges DESTINATION ${data}/denoised COMPONENT trainer)
  set(CPACK_COMPONENTS_ALL trainer)
endif()

# What is compiled in from other people's headers, rather than linked: their licences go along, and sbom.sh lists them, in
# each package.
set(denoised_compiled_in libcli11-dev nlohmann-json3-dev libboost-dev libabsl-dev libspdlog-dev)
set(copyright "denoised\n\n")
file(READ LICENSE text)
string(APPEND copyright "${text}")
set(lines "")
foreach(package IN LISTS denoised_compiled_in)
  execute_process(COMMAND dpkg-query -W "-f=\${source:Package} \${Version}" ${package}
                  OUTPUT_VARIABLE found ERROR_QUIET RESULT_VARIABLE status)
  file(GLOB file /usr/share/doc/${package}/copyright)
  if(status EQUAL 0 AND file)
    file(READ ${file} text)
    string(APPEND copyright "\n${package}, whose headers are compiled in\n\n${text}")
    string(APPEND lines "${found}\n")
  endif()
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/copyright CONTENT "@copyright@" @ONLY)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/compiled_in CONTENT "@lines@" @ONLY)
foreach(component server client development trainer)
  set(package denoised-${component})
  if(component STREQUAL "server")
    set(package denoised)
  elseif(component STREQUAL "development")
    set(package libdenoised-dev)
  endif()
  if(component IN_LIST CPACK_COMPONENTS_ALL OR NOT component STREQUAL "trainer")
    install(FILES ${CMAKE_BINARY_DIR}/copyright DESTINATION ${data}/doc/${package} COMPONENT ${component})
    install(PROGRAMS deploy/sbom.sh DESTINATION ${data}/${package} COMPONENT ${component})
    install(FILES ${CMAKE_BINARY_DIR}/compiled_in DESTINATION ${data}/${package} COMPONENT ${component})
  endif()
  string(TOUPPER ${component} name)
  set(CPACK_DEBIAN_${name}_PACKAGE_NAME ${package})
  set(CPACK_DEBIAN_${name}_PACKAGE_SECTION science)
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_CONTACT "the denoised authors")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
file(STRINGS /etc/os-release denoised_release REGEX "^VERSION_ID=")
string(REGEX REPLACE "[^0-9]" "" denoised_release "${denoised_release}")
set(CPACK_DEBIAN_PACKAGE_RELEASE 1~deb${denoised_release})
# A summary, then more lines. CPack would put the project's own before each.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(CPACK_DEBIAN_SERVER_DESCRIPTION "server that draws handwritten digits by diffusion, over gRPC
denoised serves a class-conditional diffusion model of MNIST: it batches
concurrent requests at every step, streams PNGs and intermediate frames, and
shows its figures to Prometheus. A trained checkpoint is included.")
set(CPACK_DEBIAN_CLIENT_DESCRIPTION "client of denoised, the server that draws digits
denoise asks a server for digits, shows them in the terminal as they emerge,
keeps pictures and animations, and measures how fast the server is.")
set(CPACK_DEBIAN_TRAINER_DESCRIPTION "trainer of models for denoised
denoise-train learns a class-conditional diffusion model from MNIST's files,
denoise-eval measures how good its digits are.")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "client library of denoised for C++
Messages and gRPC stubs of the API denoised.v1 as a static library, headers
and CMake's package: find_package(denoised), denoised::api.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
# What its CMake package asks for.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "libgrpc++-dev, libprotobuf-dev, pkgconf, protobuf-compiler-grpc")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS "denoised")
set(CPACK_DEBIAN_SERVER_PACKAGE_SUGGESTS "denoised-client")
set(CPACK_DEBIAN_TRAINER_PACKAGE_RECOMMENDS "denoised")
set(CPACK_DEBIAN_SERVER_PACKAGE_CONTROL_EXTRA
  "${PROJECT_SOURCE_DIR}/deploy/debian/postinst;${PROJECT_SOURCE_DIR}/deploy/debian/prerm;${PROJECT_SOURCE_DIR}/deploy/debian/postrm")
include(CPack)
