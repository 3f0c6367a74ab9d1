#include "http_head.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- request ---- */

bool lum_http_is_token(const char *text, size_t len) {
  static const char extra[] = "!#$%&'*+-.^_`|~";
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)text[i];
    if (!(c < 0x80 && isalnum(c)) && !(c && strchr(extra, c)))
      return false;
  }
  return len > 0;
}

static bool is_value(const char *text, size_t len) {
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)text[i];
    if ((c < 0x20 && c != '\t') || c == 0x7f)
      return false;
  }
  return true;
}

static bool same(const struct lum_http_header *header, const char *name) {
  return header->name_len == strlen(name) && strncasecmp(header->name, name, header->name_len) == 0;
}

static bool check_header(const struct lum_http_header *header, struct lum_err *err) {
  if (!lum_http_is_token(header->name, header->name_len))
    return lum_err_set(err, LUM_INVALID, "a header name has characters that are not allowed there");
  if (!is_value(header->value, header->value_len))
    return lum_err_set(err, LUM_INVALID, "header '%.80s': the value has control characters",
                       header->name);
  if (same(header, "content-length") || same(header, "transfer-encoding"))
    return lum_err_set(err, LUM_INVALID, "header '%.80s' is set from the body, do not pass it",
                       header->name);
  return true;
}

static bool append(struct curl_slist **lines, const char *line) {
  struct curl_slist *grown = curl_slist_append(*lines, line);
  if (grown)
    *lines = grown;
  return grown != NULL;
}

static bool append_header(struct curl_slist **lines, const struct lum_http_header *header) {
  char small[256];
  size_t size = header->name_len + header->value_len + 3;
  char *line = size <= sizeof small ? small : malloc(size);
  if (!line)
    return false;
  memcpy(line, header->name, header->name_len);
  size_t at = header->name_len;
  if (header->value_len == 0) {
    line[at++] = ';'; /* curl's way to say: present and empty */
  } else {
    line[at++] = ':';
    line[at++] = ' ';
    memcpy(line + at, header->value, header->value_len);
    at += header->value_len;
  }
  line[at] = '\0';
  bool ok = append(lines, line);
  if (line != small)
    free(line);
  return ok;
}

bool lum_http_lines_make(struct curl_slist **lines, const struct lum_http_opts *opts,
                         struct lum_err *err) {
  bool is_get = opts->body_kind == LUM_HTTP_NO_BODY && strcmp(opts->method, "GET") == 0;
  bool has_type = is_get, ok = true;
  for (size_t i = 0; i < opts->header_count; i++) {
    const struct lum_http_header *header = &opts->headers[i];
    if (!check_header(header, err))
      return false;
    has_type = has_type || same(header, "content-type");
    ok = ok && append_header(lines, header);
  }
  if (!is_get)
    ok = ok && append(lines, "Expect:"); /* a second of waiting where it is never answered */
  if (!has_type)
    ok = ok && append(lines, "Content-Type:"); /* curl would call it a form */
  return ok || lum_err_set(err, LUM_QUOTA, "http: out of memory");
}

static bool line_is(const char *line, const char *name) {
  size_t len = strlen(name);
  return strncasecmp(line, name, len) == 0 && (line[len] == ':' || line[len] == ';');
}

static bool is_private(const char *line, const struct curl_slist *secret) {
  static const char *const always[] = {"authorization", "proxy-authorization", "cookie", "host"};
  for (size_t i = 0; i < sizeof always / sizeof *always; i++) {
    if (line_is(line, always[i]))
      return true;
  }
  for (; secret; secret = secret->next) {
    if (line_is(line, secret->data))
      return true;
  }
  return false;
}

void lum_http_lines_strip(struct curl_slist **lines, const struct curl_slist *secret) {
  for (struct curl_slist **at = lines; *at;) {
    struct curl_slist *line = *at;
    if (!is_private(line->data, secret)) {
      at = &line->next;
      continue;
    }
    *at = line->next;
    line->next = NULL;
    curl_slist_free_all(line);
  }
}

/* ---- response ---- */

void lum_http_head_reset(struct lum_http_head *head) {
  head->status = head->version = 0;
  head->text_len = head->count = head->trailer_from = head->seen = 0;
  head->complete = head->broken = false;
}

void lum_http_head_destroy(struct lum_http_head *head) {
  free(head->text);
  free(head->fields);
  memset(head, 0, sizeof *head);
}

static bool reserve_text(struct lum_http_head *head, size_t len) {
  if (head->text_len + len <= head->text_cap)
    return true;
  size_t cap = head->text_cap ? head->text_cap : 512;
  while (cap < head->text_len + len)
    cap *= 2;
  char *text = realloc(head->text, cap);
  if (!text)
    return false;
  head->text = text;
  head->text_cap = cap;
  return true;
}

static uint32_t put(struct lum_http_head *head, const char *text, size_t len) {
  uint32_t at = (uint32_t)head->text_len;
  memcpy(head->text + at, text, len);
  head->text[at + len] = '\0';
  head->text_len += len + 1;
  return at;
}

static bool add_field(struct lum_http_head *head, const char *name, size_t name_len,
                      const char *value, size_t value_len) {
  if (head->count == head->cap) {
    size_t cap = head->cap ? head->cap * 2 : 16;
    struct lum_http_field *fields = realloc(head->fields, cap * sizeof *fields);
    if (!fields)
      return false;
    head->fields = fields;
    head->cap = cap;
  }
  if (!reserve_text(head, name_len + value_len + 2))
    return false;
  struct lum_http_field *field = &head->fields[head->count++];
  field->name = put(head, name, name_len);
  field->name_len = (uint32_t)name_len;
  field->value = put(head, value, value_len);
  field->value_len = (uint32_t)value_len;
  if (!head->complete)
    head->trailer_from = head->count;
  return true;
}

/* A line that begins with white space goes on with the value before it; that value is the last
 * text. */
static bool fold(struct lum_http_head *head, const char *text, size_t len) {
  if (head->count == 0 || !reserve_text(head, len + 1))
    return false;
  struct lum_http_field *field = &head->fields[head->count - 1];
  head->text[head->text_len - 1] = ' ';
  put(head, text, len);
  field->value_len += (uint32_t)len + 1;
  return true;
}

static bool status_line(struct lum_http_head *head, const char *line, size_t len) {
  size_t seen = head->seen;
  lum_http_head_reset(head);
  head->seen = seen; /* interim responses count too */
  size_t at = 5;
  if (at < len && line[at] == '2') {
    head->version = 20;
    at += len > at + 2 && line[at + 1] == '.' ? 3 : 1;
  } else {
    head->version = len > 7 && line[7] == '0' ? 10 : 11;
    at += 3;
  }
  while (at < len && line[at] == ' ')
    at++;
  for (int i = 0; i < 3; i++, at++) {
    if (at >= len || !isdigit((unsigned char)line[at]))
      return false;
    head->status = head->status * 10 + (line[at] - '0');
  }
  return true;
}

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t trim(const char **text, size_t len) {
  while (len > 0 && is_blank(**text)) {
    ++*text;
    len--;
  }
  while (len > 0 && is_blank((*text)[len - 1]))
    len--;
  return len;
}

static bool parse_line(struct lum_http_head *head, const char *line, size_t len) {
  if (len >= 5 && memcmp(line, "HTTP/", 5) == 0)
    return !head->complete && status_line(head, line, len);
  const char *text = line;
  size_t rest = trim(&text, len);
  if (rest == 0) {
    if (head->status >= 200 || head->status == 101)
      head->complete = true;
    return true;
  }
  if (line[0] == ' ' || line[0] == '\t')
    return fold(head, text, rest);
  const char *colon = memchr(line, ':', len);
  if (!colon || colon == line)
    return false;
  const char *value = colon + 1;
  size_t value_len = trim(&value, len - (size_t)(value - line));
  const char *name = line;
  size_t name_len = trim(&name, (size_t)(colon - line));
  return add_field(head, name, name_len, value, value_len);
}

bool lum_http_head_line(struct lum_http_head *head, const char *line, size_t len) {
  head->seen += len;
  if (head->seen > head->limit)
    return false;
  if (parse_line(head, line, len))
    return true;
  head->broken = true;
  return false;
}

const char *lum_http_head_get(const struct lum_http_head *head, const char *name) {
  size_t len = strlen(name);
  for (size_t i = 0; i < head->trailer_from; i++) {
    const struct lum_http_field *field = &head->fields[i];
    if (field->name_len == len && strncasecmp(head->text + field->name, name, len) == 0)
      return head->text + field->value;
  }
  return NULL;
}
