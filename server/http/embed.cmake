# Writes live_assets.cc: the text files INPUTS (a list) as raw string literals.
#   cmake "-DINPUTS=a.html;b.css" -DOUTPUT=live_assets.cc -P embed.cmake
set(entries "")
foreach(input IN LISTS INPUTS)
  file(READ "${input}" text)
  if(text MATCHES "\\)live\"")
    message(FATAL_ERROR "${input} holds the end of a raw string literal")
  endif()
  cmake_path(GET input FILENAME name)
  string(APPEND entries "    {\"${name}\", R\"live(${text})live\"},\n")
endforeach()
file(WRITE "${OUTPUT}" "#include \"server/http/live_assets.h\"

namespace olmoe::http {
namespace {

constexpr LiveAsset kAssets[] = {
${entries}};

}  // namespace

std::span<const LiveAsset> LiveAssets() { return kAssets; }

}  // namespace olmoe::http
")
