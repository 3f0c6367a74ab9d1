/* Libraries that are opened when one of their functions is first called; the tables are generated.
 */
#ifndef LUARIUM_LAZY_H
#define LUARIUM_LAZY_H

struct lum_lazy_name {
  const char *symbol;
  int library; /* index into lum_lazy_sonames */
};

__attribute__((visibility("hidden"))) extern void (*lum_lazy_slots[])(void);
extern const struct lum_lazy_name lum_lazy_names[];
extern const char *const lum_lazy_sonames[];

#endif
