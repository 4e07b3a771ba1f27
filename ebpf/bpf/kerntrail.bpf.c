// SPDX-License-Identifier: GPL-2.0
/* All programs are compiled into one object, so that they share the ring, the numbers and the maps. */
#include "process.bpf.c"
#include "network.bpf.c"
#include "privilege.bpf.c"
#include "tasks.bpf.c"
