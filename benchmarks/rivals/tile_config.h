/* GCC before 14 says that _tile_loadconfig reads 8 bytes, and leaves out most of what is written to the 64 that the
   instruction reads: llama.cpp's AMX products then crash. Included before every file of llama.cpp. */
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#undef _tile_loadconfig
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg\t%X0" ::"m"(*(const char(*)[64])(config)))
#endif
