package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/input"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

// The exit codes of run beside the workload's own, as docker run has them.
const (
	exitRunFailed  = 125 // Holdfast could not run it
	exitRunRefused = 126 // somebody in the chain refused
)

// runFlags are the words of run before they are understood.
type runFlags struct {
	name, guest, accel, memory, broker, brokerCA string
	secrets, publish, env, entrypoint            []string
	cpus                                         int
	interactive, console                         bool
}

func (a *app) runVerb() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use:   "run IMAGE [flags] [-- ARG…]",
		Short: "Run a container in a machine of its own that proves itself first",
		Long: `Boots a machine with Secure Boot and a TPM, lets it prove which bytes it runs,
and runs the container IMAGE in it. Keys of encrypted layers and secrets are
released only to the proven machine. Registry and broker are started for the
run, and the machine image is built when it is absent.

IMAGE is a registry reference, an OCI layout, an archive of docker save (- for
standard input), or the folder of a recipe.

Exit codes: the workload's own; 125 Holdfast could not run it, 126 something was
refused because it did not verify, 2 usage.`,
		Example: "  docker save my-image | holdfast run --publish 8080:80 -\n" +
			"  holdfast run --secret token=@token.txt --env MODE=test oci:my-image -- --verbose",
		Args: cobra.MinimumNArgs(1),
	}
	fs := c.Flags()
	fs.StringVar(&f.name, "name", "", "name of the run (default: picked)")
	fs.StringArrayVar(&f.secrets, "secret", nil, "NAME=VALUE, NAME=@FILE, or NAME=kbs:///… for what the broker has: only the proven workload finds it, in /run/secrets/NAME")
	fs.StringArrayVarP(&f.publish, "publish", "p", nil, "[[IP:]HOSTPORT:]PORT[/udp]: publish a port of the workload")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "NAME=VALUE, or NAME to pass on this process's")
	fs.StringArrayVar(&f.entrypoint, "entrypoint", nil, "replaces the image's; repeat for its arguments")
	fs.StringVarP(&f.memory, "memory", "m", "1g", "memory of the machine, as 512m or 2g")
	fs.IntVar(&f.cpus, "cpus", 0, "processors of the machine (default: 2, or 1 when they are emulated)")
	fs.StringVar(&f.accel, "accel", "auto", "auto, kvm or tcg; auto tries what works here")
	fs.BoolVarP(&f.interactive, "interactive", "i", false, "give the workload standard input (measured: it is part of the configuration)")
	fs.StringVar(&f.guest, "guest", "", "machine image, or its recipe's folder (default: images/guest here or beside the program)")
	fs.StringVar(&f.broker, "broker", "", "https URL of another broker, whose administrator must authorise the configuration")
	fs.StringVar(&f.brokerCA, "broker-ca", "", "PEM file of that broker's CA (default: this installation's)")
	fs.BoolVar(&f.console, "console", false, "show the machine's console on standard error")
	sources, transport := sourceFlags(c), a.transportFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := a.understand(f, args)
		if err != nil {
			return usageError{err}
		}
		if r.Transport, err = transport(); err != nil {
			return usageError{fmt.Errorf("--ca: %w", err)}
		}
		if r.Builder, err = a.builder(*sources); err != nil {
			return runError{err}
		}
		if _, err := os.Stat(r.Guest); err != nil {
			return runError{fmt.Errorf("machine image: %w; --guest names one, or its recipe's folder", err)}
		}
		r.Builder.Node = nodeProgram()
		r.Started = a.ready
		return a.run(cmd.Context(), r)
	}
	return c
}

// run runs r and turns how it ended into an exit code.
func (a *app) run(ctx context.Context, r wiring.Run) error {
	result, err := r.Installation.Run(ctx, r)
	if err != nil {
		return runError{err}
	}
	if a.json {
		if err := json.NewEncoder(a.progress()).Encode(result.Report); err != nil {
			return err
		}
	}
	o := result.Outcome
	switch {
	case o.Reason == machine.PoweredOff && o.Exit != nil:
		if o.Exit.OOMKilled {
			fmt.Fprintf(a.progress(), "holdfast: %s; --memory gives it more\n", o)
		}
		return exitCode(o.Exit)
	case o.Reason == machine.Killed && ctx.Err() != nil:
		return interruptedError{ctx.Err()}
	}
	return refusedError{outcome: o, report: result.Report}
}

func exitCode(e *api.ExitDetail) error {
	if e.Code == 0 {
		return nil
	}
	if e.Code < 0 || e.Code > 255 { // a machine's word: exit(3) would take 256 for 0
		return runError{fmt.Errorf("the machine says that its workload exited with code %d", e.Code)}
	}
	return exitError(e.Code)
}

// runError is a failure before the workload ran.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// refusedError is a machine that ended without running its workload.
type refusedError struct {
	outcome machine.Outcome
	report  *wiring.Report
}

func (e refusedError) Error() string { return "run: " + e.outcome.String() }

func (a *app) understand(f *runFlags, args []string) (wiring.Run, error) {
	r := wiring.Run{
		Image: args[0], Args: args[1:], Name: f.name, Guest: f.guest, Entrypoint: f.entrypoint, CPUs: f.cpus,
		Interactive: f.interactive, Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.progress(),
	}
	if r.Name == "" {
		r.Name = "run-" + strings.ToLower(rand.Text()[:6])
	}
	if r.Guest == "" {
		r.Guest = guestRecipe()
	}
	if f.console {
		r.Console = a.progress()
	}
	var err, all error
	if err = wiring.CheckName(r.Name); err != nil {
		all = fmt.Errorf("--name: %w", err)
	}
	if r.CPUs < 0 || r.CPUs > 64 {
		all = errors.Join(all, fmt.Errorf("--cpus %d: want 1 to 64", r.CPUs))
	}
	if r.Accel, err = machine.ParseAccel(f.accel); err != nil {
		all = errors.Join(all, fmt.Errorf("--accel: %w", err))
	}
	if r.Memory, err = parseMemory(f.memory); err != nil {
		all = errors.Join(all, err)
	}
	if r.Secrets, err = parseSecrets(f.secrets); err != nil {
		all = errors.Join(all, err)
	}
	if r.Publish, err = parsePublish(f.publish); err != nil {
		all = errors.Join(all, err)
	}
	if r.Broker, err = a.parseBroker(f); err != nil {
		all = errors.Join(all, err)
	}
	if r.Interactive && r.Image == "-" {
		all = errors.Join(all, errors.New("--interactive: standard input is the image already"))
	}
	for _, e := range f.env {
		if e == "" || e[0] == '=' {
			all = errors.Join(all, fmt.Errorf("--env %q: want NAME=VALUE or NAME", e))
		}
		if strings.Contains(e, "=") {
			r.Env = append(r.Env, e)
		} else if value := a.Getenv(e); value != "" {
			r.Env = append(r.Env, e+"="+value)
		}
	}
	return r, all
}

var memoryForm = regexp.MustCompile(`^([0-9]{1,7})([mMgG]?)[iI]?[bB]?$`)

// parseMemory gives MiB.
func parseMemory(s string) (int, error) {
	m := memoryForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("--memory %q: want a number with m or g, as 512m", s)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, err
	}
	if strings.EqualFold(m[2], "g") {
		n *= 1024
	}
	if n < 256 {
		return 0, fmt.Errorf("--memory %s: a machine needs at least 256m", s)
	}
	return n, nil
}

var secretForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func parseSecrets(words []string) ([]wiring.Secret, error) {
	var list []wiring.Secret
	for i, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || !secretForm.MatchString(name) || name == "." || name == ".." {
			// The word may be the secret itself, so it is not repeated.
			return nil, fmt.Errorf("--secret, number %d: want NAME=VALUE or NAME=@FILE, NAME of letters, digits, dot, underscore, hyphen", i+1)
		}
		s := wiring.Secret{Name: name, Value: []byte(value)}
		if strings.HasPrefix(value, "kbs:///") {
			s.Value, s.Resource = nil, value
		}
		if file, ok := strings.CutPrefix(value, "@"); ok {
			raw, err := input.ReadFile(file, input.Secret)
			if err != nil {
				return nil, fmt.Errorf("--secret %s: %w", name, err)
			}
			s.Value = raw
		}
		if err := checkSecret(s, list); err != nil {
			return nil, fmt.Errorf("--secret %s: %w", name, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// checkSecret refuses early what the broker would refuse once a machine image
// is built.
func checkSecret(s wiring.Secret, before []wiring.Secret) error {
	const most = 2 << 20
	switch {
	case slices.ContainsFunc(before, func(b wiring.Secret) bool { return b.Name == s.Name }):
		return errors.New("is given twice")
	case strings.HasPrefix(s.Name, "."):
		return errors.New("begins with a dot")
	case s.Resource == "" && len(s.Value) == 0:
		return errors.New("is empty")
	case len(s.Value) > most:
		return fmt.Errorf("has %d bytes, more than %d", len(s.Value), most)
	}
	return nil
}

// parsePublish reads [[IP:]HOSTPORT:]PORT[/PROTO], as docker does.
func parsePublish(words []string) ([]machine.Forward, error) {
	var list []machine.Forward
	for _, word := range words {
		f, err := parseForward(word)
		if err != nil {
			return nil, fmt.Errorf("--publish %q: want [[IP:]HOSTPORT:]PORT[/udp]: %w", word, err)
		}
		list = append(list, f)
	}
	return list, nil
}

func parseForward(word string) (machine.Forward, error) {
	ports, proto, _ := strings.Cut(word, "/")
	f := machine.Forward{Proto: proto}
	if proto != "" && proto != "tcp" && proto != "udp" {
		return f, fmt.Errorf("%q is neither tcp nor udp", proto)
	}
	parts := strings.Split(ports, ":")
	var err error
	if f.GuestPort, err = parsePort(parts[len(parts)-1]); err != nil || len(parts) == 1 {
		return f, err
	}
	if host := parts[len(parts)-2]; host != "" && host != "0" {
		if f.HostPort, err = parsePort(host); err != nil {
			return f, err
		}
	}
	if len(parts) == 3 {
		if f.HostIP, err = netip.ParseAddr(parts[0]); err != nil {
			return f, fmt.Errorf("%q is no IP address", parts[0])
		}
	}
	if len(parts) > 3 {
		err = errors.New("too many colons")
	}
	return f, err
}

func parsePort(word string) (uint16, error) {
	n, err := strconv.ParseUint(word, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", word)
	}
	return uint16(n), nil
}

func (a *app) parseBroker(f *runFlags) (*api.Endpoint, error) {
	if f.broker == "" {
		return nil, nil
	}
	u, err := url.Parse(f.broker)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--broker %q: want https://HOST:PORT; a machine speaks to no other", f.broker)
	}
	ca := f.brokerCA
	if ca == "" {
		ca = filepath.Join(a.state, "keys", "tls.crt")
	}
	pem, err := readCertificates(ca)
	if err != nil {
		return nil, fmt.Errorf("--broker-ca: %w", err)
	}
	return &api.Endpoint{URL: f.broker, CA: string(pem)}, nil
}

// guestRecipe is images/guest here, or else beside the program's folder.
func guestRecipe() string {
	const recipe = "images/guest"
	if _, err := os.Stat(filepath.Join(recipe, "recipe.yaml")); err == nil {
		return recipe
	}
	if exe, err := os.Executable(); err == nil {
		return filepath.Join(filepath.Dir(exe), "..", recipe)
	}
	return recipe
}

// nodeProgram is the holdfast-node that was built together with this program.
func nodeProgram() string {
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(exe), "holdfast-node")
}

// ready tells what one wants to know once the workload runs.
func (a *app) ready(r *wiring.Running) {
	published := []string{}
	for _, p := range r.Ports {
		published = append(published, p.String())
	}
	w := a.progress()
	if a.json {
		fmt.Fprintf(w, "{\"event\":\"started\",\"published\":[%s]}\n", quoted(published))
		return
	}
	for _, p := range published {
		fmt.Fprintf(w, "  published %s\n", p)
	}
}

func quoted(list []string) string {
	for i, s := range list {
		list[i] = strconv.Quote(s)
	}
	return strings.Join(list, ",")
}
