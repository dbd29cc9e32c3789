// a comment with "quotes", 'apostrophes' and /* an opening
/* a block with // and "quotes
   over lines * / not yet **/
#include <iostream>
#include "own // header.h"
// goes on \
   on the next line "still"
const char *a = "// no comment", *b = "/* none */", *c = "\"", *d = "\\"; // yes
char e = '"', f = '\'', g = '\\', h = '/'; /* "one" */
const char *i = R"(raw " // \ )" ; // after raw
const char *j = R"xy(raw )" inside)xy"; const char *j2 = R"(
// no comment
)";
const wchar_t *k = L"wide // none"; auto l = u8"utf8 /* none */"; auto m = U'x';
int n = 1'000'000 + 0xFF'FF; // separators "are no characters"
int o = 4 /* four */ / 2 /**/ * 3 /***/;
const char *p = "one" /* between */ "two"
                "three"; // "four"
const char *q = "goes on \
on // the next line";
int main() { int x = 8; int *y = &x; int z = x / *y; /* a quotient */ return x //* not a block
    / 2; }
//
/**/
// last, without an end of line: ö "ü" 日本