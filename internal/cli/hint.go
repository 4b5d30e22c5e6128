package cli

import (
	"errors"
	"net/http"
	"strings"
	"syscall"

	"holdfast/internal/access"
	"holdfast/internal/blob"
	"holdfast/internal/broker/admin"
	"holdfast/internal/deb"
	"holdfast/internal/enc"
	"holdfast/internal/gocmd"
	"holdfast/internal/ignition/admit"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/image"
	"holdfast/internal/image/recipe"
	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/machine"
	"holdfast/internal/machine/qemu"
	"holdfast/internal/policy"
	"holdfast/internal/registry"
	"holdfast/internal/sign"
	"holdfast/internal/swtpm"
	"holdfast/internal/upstream"
	"holdfast/internal/wiring"
)

// explain gives an error's exit code and what a person can do about it.
func explain(err error) (code int, hint string) {
	var usage usageError
	var run runError
	var refused refusedError
	var interrupted interruptedError
	var trouble troubleError
	switch {
	case errors.As(err, &usage):
		return exitUsage, ""
	case errors.As(err, &interrupted):
		return exitInterrupted, ""
	case errors.As(err, &trouble):
		_, hint = explainCause(trouble.error)
		return exitUsage, hint
	case errors.As(err, &refused):
		return refused.code(), refused.hint()
	case errors.As(err, &run):
		code, hint = explainCause(run.error)
		if code == exitRefused {
			return exitRunRefused, hint
		}
		return exitRunFailed, hint
	}
	return explainCause(err)
}

func explainCause(err error) (code int, hint string) {
	if code, hint, ok := explainMissing(err); ok {
		return code, hint
	}
	if hint, ok := explainCluster(err); ok {
		return exitFailed, hint
	}
	if code, hint, ok := explainLock(err); ok {
		return code, hint
	}
	if isRefusal(err) {
		return exitRefused, ""
	}
	return exitFailed, hintFor(err)
}

// explainMissing knows what is not installed.
func explainMissing(err error) (code int, hint string, ok bool) {
	var golang *gocmd.MissingError
	var machinery *qemu.MissingError
	var tpm *swtpm.MissingError
	switch {
	case errors.As(err, &golang):
		return exitMissing, golang.Hint(), true
	case errors.As(err, &machinery):
		return exitMissing, "apt-get install " + machinery.Package, true
	case errors.As(err, &tpm):
		return exitMissing, "apt-get install " + strings.Join(tpm.Packages(), " "), true
	}
	return 0, "", false
}

// explainLock knows the ways in which a lock can be of no use.
func explainLock(err error) (code int, hint string, ok bool) {
	const relock = `run "holdfast image lock" on the recipe`
	var gone *deb.StaleError
	var changed *recipe.ChangedError
	var never *wiring.NoLockError
	var toolchain *image.ToolchainError
	var unavailable *wiring.UnavailableError
	switch {
	case errors.As(err, &unavailable):
		return exitStale, "mirrors drop a package when a newer one replaces it: --mirror of an archive that keeps them, or --state of an installation that still has them in its cache", true
	case errors.As(err, &gone):
		return exitStale, relock + "; mirrors drop a package when a newer one replaces it", true
	case errors.As(err, &changed):
		return exitStale, relock, true
	case errors.As(err, &never):
		words := never.Recipe
		if never.Architecture != "" {
			words += " --arch " + never.Architecture
		}
		return exitFailed, `run "holdfast image lock ` + words + `"`, true
	case errors.As(err, &toolchain):
		return exitStale, toolchain.Hint(), true
	}
	return 0, "", false
}

// isRefusal tells errors that mean: it did not verify, or somebody said no.
func isRefusal(err error) bool {
	var answer *admin.RefusedError
	var signature *deb.SignatureError
	for _, target := range []error{transport.ErrDigest, transport.ErrEncrypted, enc.ErrMAC, enc.ErrNoKey, sign.ErrUnsigned, sign.ErrUntrusted, admit.ErrRefused} {
		if errors.Is(err, target) {
			return true
		}
	}
	var bad unverifiedError
	var broken brokenChainError
	if errors.As(err, &bad) || errors.As(err, &broken) {
		return true
	}
	if errors.As(err, &answer) && answer.Status < http.StatusInternalServerError { // above, it could not
		return true
	}
	var config *spec.InvalidError
	if errors.As(err, &config) {
		return true
	}
	var mismatch *blob.MismatchError
	var lie *wiring.StatementError
	var unsigned *wiring.UnsignedError
	if errors.As(err, &lie) || errors.As(err, &unsigned) {
		return true
	}
	return errors.As(err, &signature) || errors.As(err, &mismatch)
}

// hintFor knows what helps with common failures.
func hintFor(err error) string {
	for _, known := range []func(error) string{hintForFile, hintForImage, hintForRun, hintForService, hintForDisk} {
		if hint := known(err); hint != "" {
			return hint
		}
	}
	return ""
}

// hintForFile knows files that people write.
func hintForFile(err error) string {
	var recipe *recipe.FormError
	var rules *access.FormError
	var list *upstream.FormError
	var rego *policy.CompileError
	switch {
	case errors.As(err, &rego):
		return `"holdfast policy show attestation" prints one that compiles, with what it is given`
	case errors.As(err, &list):
		return "docs/formats/upstreams.md tells what a list of upstreams may say"
	case errors.As(err, &rules):
		return "docs/formats/access.md tells what a file of access rules may say"
	case errors.Is(err, access.ErrInRules):
		return "take the name out of them first"
	case errors.Is(err, access.ErrNoUser):
		return `"holdfast registry user ls" lists them`
	case errors.As(err, &recipe):
		return "docs/formats/recipe.md tells what a recipe may say"
	}
	return ""
}

// hintForImage knows what images and packages are taken from.
func hintForImage(err error) string {
	var unreachable *transport.UnreachableError
	var unknown *deb.MissingError
	var resource *wiring.NoResourceError
	switch {
	case errors.As(err, &unreachable) && unreachable.Hub():
		return "a name without a host is one at Docker Hub; a folder's is oci:DIR or ./DIR"
	case errors.As(err, &unknown) && unknown.NeededBy != nil:
		return `the recipe's "exclude" leaves out what is only depended upon`
	case errors.As(err, &unknown):
		return "packages.debian.org tells which suites and architectures have a package"
	case errors.As(err, &resource):
		return `run "holdfast broker set ` + resource.Resource + ` FILE", or encrypt the image here`
	case errors.Is(err, wiring.ErrNothingStated):
		return `"holdfast image build" states it; "image encrypt" leaves it behind unless --referrers is given`
	}
	return ""
}

// hintForRun knows machines.
func hintForRun(err error) string {
	var unknown *wiring.UnknownRunError
	var running *wiring.RunningError
	var nothing *nothingKept
	var port *qemu.PortTakenError
	var kvm *qemu.NoKVMError
	switch {
	case errors.As(err, &unknown):
		return `"holdfast ps --all" lists them`
	case errors.As(err, &running):
		return `"holdfast stop ` + running.Name + `" ends it, and --force does so here`
	case errors.As(err, &nothing):
		return nothing.hint()
	case errors.As(err, &port):
		return "publish on another port, or leave the host port out to have one picked"
	case errors.As(err, &kvm):
		return "--accel auto runs without it, slower"
	case errors.Is(err, wiring.ErrBusy):
		return "give this one another --name"
	}
	return ""
}

// hintForService knows keys, and who serves.
func hintForService(err error) string {
	var port *wiring.PortTakenError
	switch {
	case errors.As(err, &port):
		return "choose another with --" + port.Service + "-listen; 127.0.0.1:0 is any free one"
	case errors.Is(err, keys.ErrNotExist):
		return `run "holdfast key init"`
	case errors.Is(err, keys.ErrExist):
		return `"holdfast key list" shows them`
	case errors.Is(err, syscall.ECONNREFUSED):
		return `nobody listens there; a registry and a broker of ours are started by "holdfast serve"`
	case errors.Is(err, registry.ErrInUse):
		return "another holdfast serves this folder: stop it, or choose another with --state"
	case errors.Is(err, wiring.ErrNotServing):
		return `run "holdfast serve"`
	case errors.Is(err, keys.ErrOtherSwarm):
		return "--replace leaves the other swarm"
	}
	return ""
}

// hintForDisk knows full ones, here and at a broker.
func hintForDisk(err error) string {
	var answer *admin.RefusedError
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusInsufficientStorage:
		return "free some space there; nothing half-written was left"
	case errors.Is(err, syscall.ENOSPC):
		return "free some space there, or choose other folders with --state and TMPDIR; nothing half-written was left"
	}
	return ""
}

// code tells a refusal from a machine that broke.
func (e refusedError) code() int {
	switch e.outcome.Reason {
	case machine.FirmwareRefused, machine.VerityCorruption, machine.Refused:
		return exitRunRefused
	}
	return exitRunFailed
}

// hint says where to look after a machine that did not run its workload.
func (e refusedError) hint() string {
	if o := e.outcome; o.Reason == machine.Refused && o.Refusal.InitDataDigest != "" && strings.Contains(o.Refusal.Reason, "configuration") {
		allow := "holdfast broker allow " + e.report.Configuration
		for _, r := range e.report.Resources {
			allow += " --resource " + r
		}
		return "an administrator of the broker can authorise the configuration: " + allow
	}
	if e.outcome.Reason == machine.OutOfMemory {
		return "--memory gives it more: the image's unpacked size and 64m at least"
	}
	if e.report.Logs != "" {
		return "the machine's console and logs are in " + e.report.Logs
	}
	return ""
}
