package units

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/supervise"
)

// filters are directives that refuse system calls.
func filters() map[string]directive {
	refuse := func(to func(*supervise.Calls) *bool) func(*builder, string) error {
		return flag(func(b *builder, yes bool) { *to(&b.protection.calls) = yes })
	}
	return map[string]directive{
		"RestrictRealtime":        {refuse(func(c *supervise.Calls) *bool { return &c.NoRealtime }), "it cannot have a realtime priority"},
		"LockPersonality":         {refuse(func(c *supervise.Calls) *bool { return &c.NoPersonality }), "it cannot have another personality"},
		"MemoryDenyWriteExecute":  {refuse(func(c *supervise.Calls) *bool { return &c.NoWriteExecute }), "it cannot have memory that is writable and executable, or becomes executable"},
		"RestrictSUIDSGID":        {refuse(func(c *supervise.Calls) *bool { return &c.NoSUID }), "it cannot make files set-user-ID or set-group-ID"},
		"SystemCallArchitectures": {architecture, "native only: a program that calls as of another is ended"},
		"RestrictNamespaces":      {restrictNamespaces, "yes, no, or namespaces (cgroup, ipc, net, mnt, pid, user, uts) that it may make and join, ~ before them for all others"},
		"RestrictAddressFamilies": {addressFamilies, "of the sockets that it may make, or none; ~ before them for all others"},
	}
}

func architecture(b *builder, v string) error {
	b.protection.calls.NativeOnly = v != ""
	return oneOf(v, "native", "")
}

var namespaceNames = map[string]uint32{
	"cgroup": unix.CLONE_NEWCGROUP, "ipc": unix.CLONE_NEWIPC, "net": unix.CLONE_NEWNET, "mnt": unix.CLONE_NEWNS,
	"pid": unix.CLONE_NEWPID, "user": unix.CLONE_NEWUSER, "uts": unix.CLONE_NEWUTS,
}

// restrictNamespaces adds to the namespaces of lines before it (systemd.exec(5),
// RestrictNamespaces=).
func restrictNamespaces(b *builder, v string) error {
	var all, listed uint32
	for _, kind := range namespaceNames {
		all |= kind
	}
	no := &b.protection.calls.NoNamespaces
	if v == "" {
		*no, b.protection.namespaces = 0, nil
		return nil
	}
	if yes, err := boolean(v); err == nil { // lines behind it add to all or none
		if *no = 0; yes {
			*no = all
		}
		b.protection.namespaces = new(all &^ *no)
		return nil
	}
	v, except := strings.CutPrefix(v, "~")
	for word := range strings.FieldsSeq(v) {
		kind, ok := namespaceNames[word]
		if !ok {
			return fmt.Errorf("%.40q is no namespace: want yes, no, or some of cgroup, ipc, net, mnt, pid, user and uts", word)
		}
		listed |= kind
	}
	switch {
	case b.protection.namespaces == nil && except:
		b.protection.namespaces = new(all &^ listed)
	case b.protection.namespaces == nil:
		b.protection.namespaces = new(listed)
	case except:
		*b.protection.namespaces &^= listed
	default:
		*b.protection.namespaces |= listed
	}
	*no = all &^ *b.protection.namespaces
	return nil
}

var familyNames = map[string]uint32{
	"AF_UNIX": unix.AF_UNIX, "AF_LOCAL": unix.AF_UNIX, "AF_INET": unix.AF_INET, "AF_INET6": unix.AF_INET6, "AF_NETLINK": unix.AF_NETLINK, "AF_ROUTE": unix.AF_NETLINK,
	"AF_PACKET": unix.AF_PACKET, "AF_KEY": unix.AF_KEY, "AF_ALG": unix.AF_ALG, "AF_VSOCK": unix.AF_VSOCK, "AF_XDP": unix.AF_XDP, "AF_BLUETOOTH": unix.AF_BLUETOOTH,
	"AF_CAN": unix.AF_CAN, "AF_TIPC": unix.AF_TIPC, "AF_RDS": unix.AF_RDS, "AF_NFC": unix.AF_NFC, "AF_SMC": unix.AF_SMC, "AF_KCM": unix.AF_KCM, "AF_IB": unix.AF_IB,
	"AF_MPLS": unix.AF_MPLS, "AF_PPPOX": unix.AF_PPPOX, "AF_LLC": unix.AF_LLC, "AF_RXRPC": unix.AF_RXRPC, "AF_QIPCRTR": unix.AF_QIPCRTR, "AF_PHONET": unix.AF_PHONET,
}

// addressFamilies adds to those of lines before it, or takes from them: the
// first line says which of the two a list is (systemd.exec(5)).
func addressFamilies(b *builder, v string) error {
	f := &b.protection.calls.Families
	if v == "" {
		*f = nil
		return nil
	}
	if v == "none" {
		*f = &supervise.Families{}
		return nil
	}
	v, except := strings.CutPrefix(v, "~")
	if *f == nil {
		*f = &supervise.Families{Except: except}
	}
	for word := range strings.FieldsSeq(v) {
		n, ok := familyNames[word]
		if !ok {
			return fmt.Errorf("%.40q is no address family that is known here", word)
		}
		(*f).Numbers = slices.DeleteFunc((*f).Numbers, func(old uint32) bool { return old == n })
		if except == (*f).Except {
			(*f).Numbers = append((*f).Numbers, n)
		}
	}
	return nil
}
