/* Takes an archive apart into a folder of its own. What an archive may not do, and is refused for:
 * absolute names and "..", names that lead through a link or a file, links out of the folder,
 * devices and fifos, the same name twice, damage and early ends, more than the limits allow.
 * Set-uid and the like are dropped, owners ignored. */
#ifndef LUM_ARCHIVE_EXTRACT_H
#define LUM_ARCHIVE_EXTRACT_H

#include "archive.h"
#include "archive_input.h"

/* Extracts everything from input into the empty folder at root. False with err filled; what was
 * made stays for the caller to remove. */
bool lum_extract(struct lum_input *input, int root, const struct lum_unpack_opts *opts,
                 struct lum_queue *queue, struct lum_unpack_result *result, struct lum_err *err);

/* Moves what is in the folder `temp` of `base` into base itself, folder by folder. Looks for
 * conflicts before it touches anything. Links in base are replaced, never followed. */
bool lum_extract_merge(int base, const char *temp, struct lum_err *err);

#endif
