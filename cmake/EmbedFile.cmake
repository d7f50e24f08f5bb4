# cmake -DINPUT=file -DOUTPUT=file.cc -DFUNCTION=name -P EmbedFile.cmake
#
# Writes a C++ file that defines the function of broker/embedded_files.h: it answers the input's bytes.
file(READ ${INPUT} hex HEX)
file(SHA256 ${INPUT} hash)
string(SUBSTRING ${hash} 0 32 etag)
# A few lines rather than one of a hundred thousand columns, which compilers quote in messages.
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
string(REPLACE "'\\x0a'," "'\\x0a',\n    " bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"broker/embedded_files.h\"

namespace {

constexpr char bytes[] = {
    ${bytes}
};

}  // namespace

broker::EmbeddedFile broker::${FUNCTION}() {
    return {.bytes = {bytes, sizeof bytes}, .etag = \"\\\"${etag}\\\"\"};
}
")
