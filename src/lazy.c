/* Behind the stubs of libraries that are opened late: the first call of each function comes here.
 */
#include "lazy.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* May run on any thread: dlopen and dlsym are safe, and a slot is one aligned word that only ever
 * gets one value. */
__attribute__((used, visibility("hidden"))) void *lum_lazy_resolve(unsigned long index) {
  const struct lum_lazy_name *name = &lum_lazy_names[index];
  const char *soname = lum_lazy_sonames[name->library];
  void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
  void *function = library ? dlsym(library, name->symbol) : NULL;
  if (!function) {
    fprintf(stderr, "luarium: %s cannot be used: %s\n", soname, dlerror());
    exit(125);
  }
  __atomic_store_n((void **)&lum_lazy_slots[index], function, __ATOMIC_RELEASE);
  return function;
}

/* A stub has pushed its index over the return address. Every register that may hold an argument is
 * kept, the function is looked up, and the call goes on as if it had gone there at once. */
__asm__(".text\n"
        ".globl lum_lazy_enter\n"
        ".hidden lum_lazy_enter\n"
        "lum_lazy_enter:\n"
        "pushq %rbp\n"
        "movq %rsp, %rbp\n"
        "andq $-16, %rsp\n"
        "subq $192, %rsp\n"
        "movq %rdi, 0(%rsp)\n"
        "movq %rsi, 8(%rsp)\n"
        "movq %rdx, 16(%rsp)\n"
        "movq %rcx, 24(%rsp)\n"
        "movq %r8, 32(%rsp)\n"
        "movq %r9, 40(%rsp)\n"
        "movq %rax, 48(%rsp)\n"
        "movaps %xmm0, 64(%rsp)\n"
        "movaps %xmm1, 80(%rsp)\n"
        "movaps %xmm2, 96(%rsp)\n"
        "movaps %xmm3, 112(%rsp)\n"
        "movaps %xmm4, 128(%rsp)\n"
        "movaps %xmm5, 144(%rsp)\n"
        "movaps %xmm6, 160(%rsp)\n"
        "movaps %xmm7, 176(%rsp)\n"
        "movq 8(%rbp), %rdi\n"
        "call lum_lazy_resolve\n"
        "movq %rax, %r11\n"
        "movq 0(%rsp), %rdi\n"
        "movq 8(%rsp), %rsi\n"
        "movq 16(%rsp), %rdx\n"
        "movq 24(%rsp), %rcx\n"
        "movq 32(%rsp), %r8\n"
        "movq 40(%rsp), %r9\n"
        "movq 48(%rsp), %rax\n"
        "movaps 64(%rsp), %xmm0\n"
        "movaps 80(%rsp), %xmm1\n"
        "movaps 96(%rsp), %xmm2\n"
        "movaps 112(%rsp), %xmm3\n"
        "movaps 128(%rsp), %xmm4\n"
        "movaps 144(%rsp), %xmm5\n"
        "movaps 160(%rsp), %xmm6\n"
        "movaps 176(%rsp), %xmm7\n"
        "movq %rbp, %rsp\n"
        "popq %rbp\n"
        "addq $8, %rsp\n"
        "jmp *%r11\n");
