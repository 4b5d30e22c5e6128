package cli

import "github.com/spf13/cobra"

// runFlags are the words of run before they are understood.
type runFlags struct {
	name, guest, accel, memory, broker, brokerCA, proof string
	user, workdir, hostname, log, policy, as            string
	secrets, publish, env, entrypoint                   []string
	tmpfs, volumes, mounts, disks                       []string
	ignition, filesDir, kept                            string
	cpus                                                int
	interactive, console, readOnly, detach, rm          bool
	api                                                 apiFlags
}

// on gives c these flags.
func (f *runFlags) on(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.name, "name", "", "name of the run (default: picked)")
	fs.StringArrayVar(&f.secrets, "secret", nil, "NAME=VALUE, NAME=@FILE, or NAME=kbs:///… or NAME=sealed.… for what the broker has: only the proven workload finds it, in /run/secrets/NAME")
	fs.StringArrayVarP(&f.publish, "publish", "p", nil, "[[IP:]HOSTPORT:]PORT[/udp]: publish a port of the workload")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "NAME=VALUE, or NAME to pass on this process's; a VALUE of \"holdfast secret seal\" is unsealed in the proven machine")
	fs.StringArrayVar(&f.entrypoint, "entrypoint", nil, "replaces the image's; repeat for its arguments")
	fs.StringVarP(&f.memory, "memory", "m", "1g", "memory of the machine, as 512m or 2g")
	fs.IntVar(&f.cpus, "cpus", 0, "processors of the machine (default: 2, or 1 when they are emulated)")
	fs.StringVar(&f.accel, "accel", "auto", "auto, kvm or tcg; auto tries what works here")
	fs.BoolVarP(&f.interactive, "interactive", "i", false, "give the workload standard input (measured: it is part of the configuration)")
	fs.StringVar(&f.guest, "guest", "", "machine image, or its recipe's folder (default: images/guest here or beside the program)")
	fs.StringVar(&f.broker, "broker", "", "https URL of another broker, whose administrator must authorise the configuration")
	fs.StringVar(&f.brokerCA, "broker-ca", "", "PEM file of that broker's CA (default: this installation's)")
	fs.StringVar(&f.proof, "proof", "", "file to write with the proofs of all that the broker released to the workload")
	fs.StringVar(&f.policy, "policy", "", "policy.json that the machine holds the image to: a tag is enough of a name then, if it wants a signature")
	fs.StringVar(&f.as, "as", "", "name that --policy judges the image by, as HOST/NAME:TAG (default: IMAGE)")
	fs.StringArrayVar(&f.tmpfs, "tmpfs", nil, "/PATH[:size=64m,mode=1777,noexec]: memory of its own for the workload at PATH, empty at first")
	onMachine(fs, f)
	fs.StringArrayVar(&f.volumes, "volume", nil, "refused: what lies on a host is not measured")
	fs.StringVarP(&f.user, "user", "u", "", "USER[:GROUP] of the workload, by name or number (default: the image's)")
	fs.StringVarP(&f.workdir, "workdir", "w", "", "working directory of the workload (default: the image's)")
	fs.StringVar(&f.hostname, "hostname", "", "host name that the workload sees")
	fs.BoolVar(&f.readOnly, "read-only", false, "let the workload write only to --tmpfs and to the volumes that its image declares")
	fs.BoolVarP(&f.detach, "detach", "d", false, "return when the workload runs; it goes on in the background")
	fs.BoolVar(&f.rm, "rm", false, "keep nothing of the run when it has ended, however it ends")
	fs.StringVar(&f.log, "log", "file", "file or none: where a detached workload's output goes")
	f.api.on(c)
	fs.BoolVar(&f.console, "console", false, "show the machine's console on standard error")
}
