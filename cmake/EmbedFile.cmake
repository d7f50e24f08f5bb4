# cmake -DINPUT=file -DOUTPUT=file.cc -DHEADER=broker/x.h -DFUNCTION=broker::x -P EmbedFile.cmake
#
# Writes a C++ file that defines the function the header declares: it answers the input's bytes.
file(READ ${INPUT} hex HEX)
# A few lines rather than one of a hundred thousand columns, which compilers quote in messages.
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
string(REPLACE "'\\x0a'," "'\\x0a',\n    " bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"

namespace {

constexpr char bytes[] = {
    ${bytes}
};

}  // namespace

std::string_view ${FUNCTION}() {
    return {bytes, sizeof bytes};
}
")
