package units

// builtin are the targets that every machine has, unless a unit file says
// otherwise (systemd.special(7)). What the machine does before any unit starts
// (filesystems, swap, network, clock) they stand for.
var builtin = map[string]string{
	"default.target":    "alias multi-user.target",
	"graphical.target":  "[Unit]\nDescription=Graphical Interface\nRequires=multi-user.target\nAfter=multi-user.target\n",
	"multi-user.target": "[Unit]\nDescription=Multi-User System\nRequires=basic.target\nAfter=basic.target\n",
	"basic.target":      "[Unit]\nDescription=Basic System\nRequires=sysinit.target\nWants=timers.target\nAfter=sysinit.target\nDefaultDependencies=no\n",
	"sysinit.target":    "[Unit]\nDescription=System Initialization\nWants=local-fs.target swap.target\nAfter=local-fs.target swap.target\nDefaultDependencies=no\n",
	"timers.target":     passive + "After=sysinit.target\n", "local-fs.target": passive + "After=local-fs-pre.target\n", "local-fs-pre.target": passive,
	"swap.target": passive, "remote-fs.target": passive + "After=remote-fs-pre.target\n", "remote-fs-pre.target": passive,
	"network.target": passive + "After=network-pre.target\n", "network-pre.target": passive,
	"network-online.target": passive + "After=network.target\n", "nss-lookup.target": passive, "nss-user-lookup.target": passive,
	"time-set.target": passive, "time-sync.target": passive + "After=time-set.target\n", "cryptsetup.target": passive, "cryptsetup-pre.target": passive,
	"sockets.target": passive, "paths.target": passive, "slices.target": passive, "getty.target": passive,
}

const passive = "[Unit]\nDefaultDependencies=no\n"
