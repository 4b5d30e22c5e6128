package cli

import (
	"crypto/rand"
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

	"holdfast/internal/api"
	"holdfast/internal/input"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

func (a *app) understand(f *runFlags, args []string) (wiring.Run, error) {
	r := wiring.Run{
		Image: args[0], Args: args[1:], Name: f.name, Guest: f.guest, Entrypoint: f.entrypoint, CPUs: f.cpus,
		Interactive: f.interactive, Proof: f.proof, Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.progress(),
		User: f.user, Workdir: f.workdir, Hostname: f.hostname, ReadOnly: f.readOnly,
		Detached: f.detach, Remove: f.rm, Keep: f.detach && !f.rm, Journal: f.detach && f.log == "file",
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
	if r.Tmpfs, err = parseTmpfs(f.tmpfs); err != nil {
		all = errors.Join(all, err)
	}
	all = errors.Join(all, (api.Process{Workdir: f.workdir, Hostname: f.hostname}).Check(), f.contradictions(), a.mistaken(f, args))
	if r.Proof != "" { // a detached run's process has another folder
		if r.Proof, err = filepath.Abs(r.Proof); err != nil {
			all = errors.Join(all, fmt.Errorf("--proof: %w", err))
		}
	}
	if r.Proof != "" && r.Broker != nil {
		all = errors.Join(all, errors.New("--proof: another's broker keeps the proofs; its administrator has them"))
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

// contradictions are words that are right, but not together.
func (f *runFlags) contradictions() error {
	switch {
	case f.log != "file" && f.log != "none":
		return fmt.Errorf("--log %q: want file or none", f.log)
	case f.log == "none" && !f.detach:
		return errors.New("--log none: only what is detached has a log")
	case f.detach && f.interactive:
		return errors.New("--interactive: standard input ends with this command, and --detach lets it go")
	case f.detach && f.console:
		return errors.New(`--console: "holdfast logs --console" shows that of a detached run`)
	}
	return nil
}

// mistaken refuses what docker would take and a proven machine cannot.
func (a *app) mistaken(f *runFlags, args []string) error {
	if len(f.volumes) > 0 {
		return fmt.Errorf("--volume %.80s: what lies on a host is not measured, so a proven workload is given none of it: "+
			"--tmpfs gives it memory, --secret a value, and an image files", f.volumes[0])
	}
	if image := args[0]; a.talk && filepath.IsAbs(image) && strings.Contains(image, ":/") {
		return fmt.Errorf("%.80q is no image, and -v means --verbose here; there are no volumes of the host, but --tmpfs", image)
	}
	return nil
}

const usualTmpfs = 64 << 20

// parseTmpfs reads /PATH[:size=64m,mode=1777,noexec].
func parseTmpfs(words []string) ([]api.Tmpfs, error) {
	var list []api.Tmpfs
	for _, word := range words {
		path, options, _ := strings.Cut(word, ":")
		t := api.Tmpfs{Path: path, Size: usualTmpfs}
		for _, option := range strings.FieldsFunc(options, func(r rune) bool { return r == ',' }) {
			if err := tmpfsOption(&t, option); err != nil {
				return nil, fmt.Errorf("--tmpfs %q: %w", word, err)
			}
		}
		list = append(list, t)
	}
	if err := (api.GuestConfig{Tmpfs: list}).Check(); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	return list, nil
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,12})([kKmMgG]?)$`)

func tmpfsOption(t *api.Tmpfs, option string) error {
	name, value, _ := strings.Cut(option, "=")
	switch name {
	case "size":
		m := sizeForm.FindStringSubmatch(value)
		if m == nil {
			return fmt.Errorf("size %.20q: want a number with k, m or g", value)
		}
		n, err := strconv.ParseInt(m[1], 10, 64)
		t.Size = n << map[string]int{"k": 10, "m": 20, "g": 30}[strings.ToLower(m[2])]
		return err
	case "mode":
		t.Mode = value
		return nil
	case "noexec":
		t.NoExec = true
		return nil
	case "rw", "nosuid", "nodev": // as it is anyway
		return nil
	}
	return fmt.Errorf("option %.40q: want size=, mode= or noexec", option)
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
