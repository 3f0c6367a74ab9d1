/* libarchive converts names by the locale of the thread, and in the "C" locale it cannot convert
 * any that is not ASCII. Around each use, the thread (only it) is switched to UTF-8, where that
 * exists. */
#ifndef LUM_ARCHIVE_LOCALE_H
#define LUM_ARCHIVE_LOCALE_H

#include <locale.h>

struct lum_archive_locale {
  locale_t mine, before;
};

static inline void lum_archive_locale_enter(struct lum_archive_locale *locale) {
  locale->mine = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
  if (locale->mine)
    locale->before = uselocale(locale->mine);
}

static inline void lum_archive_locale_leave(struct lum_archive_locale *locale) {
  if (!locale->mine)
    return;
  uselocale(locale->before);
  freelocale(locale->mine);
}

#endif
