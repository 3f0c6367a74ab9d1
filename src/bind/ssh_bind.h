/* What the files of luarium.native.ssh share. */
#ifndef LUM_SSH_BIND_H
#define LUM_SSH_BIND_H

#include "bind.h"
#include "core/ssh.h"

struct lum_ssh *lum_bind_check_ssh(lua_State *L, int arg);

/* session:exec{command =, ...} -> channel | nil, err */
int lum_ssh_bind_exec(lua_State *L);

#endif
