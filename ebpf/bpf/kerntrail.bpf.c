// SPDX-License-Identifier: GPL-2.0
/* One object, so that all programs share the ring, the numbers and the maps. */
#include "process.bpf.c"
#include "network.bpf.c"
#include "privilege.bpf.c"
#include "tasks.bpf.c"
