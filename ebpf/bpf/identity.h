/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The identity of a task: parent, leaders, credentials, namespaces and cgroup, all read from kernel objects, with ids
 * as seen in the initial namespaces.
 *
 * The verifier knows the type of the pointer `task`, so its fields are loaded directly, at a tenth of the cost of
 * bpf_probe_read_kernel. Objects found by pointer arithmetic (container_of) have to be read with that helper.
 */
#pragma once

#include "ring.h"

#define CGROUP_STEPS 12
#define CGROUP_NAME_MAX 255

/* `kind` is PIDTYPE_SID or PIDTYPE_PGID. Of a leader that has exited, the pid is known but not the start time. */
static __always_inline void fill_leader(struct kt_ref *ref, struct signal_struct *signal, enum pid_type kind)
{
	struct pid *pid = signal->pids[kind];
	struct hlist_node *node = NULL;
	struct task_struct *leader;

	if (!pid)
		return;
	bpf_core_read(&node, sizeof(node), &pid->tasks[PIDTYPE_TGID].first);
	if (!node) {
		bpf_core_read(&ref->tgid, sizeof(ref->tgid), &pid->numbers[0].nr);
		return;
	}
	leader = (void *)node - bpf_core_field_offset(struct task_struct, pid_links[PIDTYPE_TGID]);
	bpf_core_read(&ref->tgid, sizeof(ref->tgid), &leader->tgid);
	bpf_core_read(&ref->start_boottime, sizeof(ref->start_boottime), &leader->start_boottime);
}

static __always_inline void fill_ref(struct kt_ref *ref, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;

	ref->tgid = task->tgid;
	if (leader)
		ref->start_boottime = leader->start_boottime;
}

/*
 * The cgroup that identifies the container: in the v2 hierarchy, or, where that has only a root (v1 and hybrid
 * systems), that of the v1 `pids` controller. To the verifier the result is a scalar: read its fields with the helper.
 */
static __always_inline struct cgroup *cgroup_of(struct task_struct *task)
{
	struct css_set *set = task->cgroups;
	struct cgroup_subsys_state *css = NULL;
	struct cgroup *cgroup = NULL;
	int level = 0;

	if (!set)
		return NULL;
	bpf_core_read(&cgroup, sizeof(cgroup), &set->dfl_cgrp);
	bpf_core_read(&level, sizeof(level), &cgroup->level);
	if (level > 0 || !bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		return cgroup;
	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)set + bpf_core_field_offset(struct css_set, subsys) +
				      bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id) * sizeof(css));
	if (css)
		bpf_core_read(&cgroup, sizeof(cgroup), &css->cgroup);
	return cgroup;
}

/* The id of that cgroup; 0 when the task has none. */
static __always_inline u64 cgroup_id_of(struct task_struct *task)
{
	struct cgroup *cgroup = cgroup_of(task);

	return cgroup ? BPF_CORE_READ(cgroup, kn, id) : 0;
}

static __always_inline void fill_state(struct kt_state *state, struct task_struct *task)
{
	const struct cred *cred = task->cred;
	struct nsproxy *ns = task->nsproxy;

	if (cred) {
		struct user_namespace *user_ns = cred->user_ns;

		state->euid = cred->euid.val;
		state->egid = cred->egid.val;
		bpf_core_read(&state->cap_effective, sizeof(state->cap_effective), &cred->cap_effective);
		if (user_ns)
			state->user_ns = user_ns->ns.inum;
	}
	if (ns) {
		struct mnt_namespace *mnt_ns = ns->mnt_ns;
		struct pid_namespace *pid_ns = ns->pid_ns_for_children;
		struct net *net_ns = ns->net_ns;

		if (mnt_ns)
			state->mnt_ns = mnt_ns->ns.inum;
		if (pid_ns)
			state->pid_ns = pid_ns->ns.inum;
		if (net_ns)
			state->net_ns = net_ns->ns.inum;
	}
	state->cgroup_id = cgroup_id_of(task);
}

/* `out` must be zeroed. `parent` is the real parent; for a fork, the task that forked. */
static __always_inline void fill_task(struct kt_task *out, struct task_struct *task, struct task_struct *parent)
{
	const struct cred *cred = task->cred;
	struct signal_struct *signal = task->signal;

	fill_ref(&out->process, task);
	if (parent)
		fill_ref(&out->parent, parent);
	if (signal) {
		struct tty_struct *tty = signal->tty;

		fill_leader(&out->session_leader, signal, PIDTYPE_SID);
		fill_leader(&out->group_leader, signal, PIDTYPE_PGID);
		if (tty)
			bpf_probe_read_kernel_str(out->tty, sizeof(out->tty), tty->name);
	}
	if (cred) {
		out->uid = cred->uid.val;
		out->gid = cred->gid.val;
	}
	out->login_uid = bpf_core_field_exists(task->loginuid) ? task->loginuid.val : (u32)-1;
	out->tid = task->pid;
	/*
	 * A fork sets both ids to the parent's self_exec_id, and an exec increments self_exec_id, so the difference
	 * is the number of execs. (With CLONE_PARENT, which runc uses to fork a container's init, it starts at the
	 * count of the forking task instead of 0.)
	 */
	out->exec_seq = task->self_exec_id - task->parent_exec_id;
	bpf_probe_read_kernel(out->comm, sizeof(out->comm), task->comm);
	fill_state(&out->state, task);
}

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *node)
{
	if (bpf_core_field_exists(node->__parent))
		return BPF_CORE_READ(node, __parent);
	return BPF_CORE_READ((struct kernfs_node___before_6_15 *)node, parent);
}

/*
 * Writes the names of the cgroup and its ancestors, innermost first, each terminated by NUL, into `data` from
 * `*cursor` (see path.h), and returns their total length. The root, which has no parent, has no name.
 */
static __noinline u32 write_cgroup(u8 *data, u32 *cursor, struct cgroup *cgroup, enum kt_flag *flags)
{
	struct kernfs_node *node = BPF_CORE_READ(cgroup, kn);
	struct kernfs_node *parent;
	u32 off, start = *cursor;
	long len;
	int i;

	for (i = 0; i < CGROUP_STEPS && node; i++) {
		parent = kernfs_parent(node);
		if (!parent)
			return *cursor - start;
		off = *cursor & KT_DATA_MASK;
		len = bpf_probe_read_kernel_str(data + off, CGROUP_NAME_MAX + 1, BPF_CORE_READ(node, name));
		if (len <= 1)
			break;
		*cursor = off + len;
		node = parent;
	}
	*flags |= KT_CGROUP_CUT;
	return *cursor - start;
}
