package cli

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/enc/sealed"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

// understand makes a run of the words, and tells all that is wrong with them.
func (a *app) understand(f *runFlags, args []string) (wiring.Run, error) {
	r := wiring.Run{
		Image: args[0], Args: args[1:], Name: f.name, Guest: f.guest, Entrypoint: f.entrypoint, CPUs: f.cpus,
		Interactive: f.interactive, Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.progress(),
		As: f.as, User: f.user, Workdir: f.workdir, Hostname: f.hostname, ReadOnly: f.readOnly,
		Disks: f.disks, Kept: f.kept,
		Detached: f.detach, Remove: f.rm, Keep: f.detach && !f.rm, Journal: f.detach && f.log == "file",
	}
	if name := filepath.Base(r.Kept); r.Name == "" && r.Kept != "" && wiring.CheckName(name) == nil {
		r.Name = name // it is part of the configuration where there are secrets
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
	err := errors.Join(
		checkName(r.Name), checkCPUs(r.CPUs),
		read(&r.Accel, f.accel, parseAccel),
		read(&r.Memory, f.memory, parseMemory),
		read(&r.Secrets, f.secrets, parseSecrets),
		read(&r.Publish, f.publish, parsePublish),
		read(&r.API, f.api.features, parseFeatures), read(&r.Resources, f.api.resources, parseResources),
		read(&r.Broker, f, a.parseBroker),
		read(&r.Tmpfs, f.tmpfs, parseTmpfs), read(&r.Mounts, f.mounts, parseMounts), a.parseIgnition(f, &r),
		(api.Process{Workdir: f.workdir, Hostname: f.hostname}).Check(), f.contradictions(), a.mistaken(f, args),
		read(&r.Proof, f.proof, parseProof), read(&r.Policy, f.policy, parsePolicy),
		unfit(&r),
		read(&r.Env, f.env, a.parseEnv),
	)
	return r, err
}

// read puts into a run what parse makes of the words.
func read[Words, Part any](part *Part, words Words, parse func(Words) (Part, error)) (err error) {
	*part, err = parse(words)
	return err
}

func checkName(name string) error {
	if err := wiring.CheckName(name); err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	return nil
}

func checkCPUs(n int) error {
	if n < 0 || n > 64 {
		return fmt.Errorf("--cpus %d: want 1 to 64", n)
	}
	return nil
}

func parseAccel(word string) (machine.Accel, error) {
	kind, err := machine.ParseAccel(word)
	if err != nil {
		err = fmt.Errorf("--accel: %w", err)
	}
	return kind, err
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

// unfit is what one part of a run rules out in another.
func unfit(r *wiring.Run) (err error) {
	if r.Proof != "" && r.Broker != nil {
		err = errors.New("--proof: another's broker keeps the proofs; its administrator has them")
	}
	if r.As != "" && r.Policy == "" {
		err = errors.Join(err, errors.New("--as: is for --policy"))
	}
	if len(r.Mounts) > 0 && r.Ignition == nil {
		err = errors.Join(err, errors.New("--mount: without --ignition a machine has no folder to give"))
	}
	if r.Interactive && r.Image == "-" {
		err = errors.Join(err, errors.New("--interactive: standard input is the image already"))
	}
	return err
}

// parsePolicy reads the policy with its keys: a machine has no files of theirs.
func parsePolicy(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	p, err := wiring.ReadPolicy(path)
	if err != nil {
		return "", fmt.Errorf("--policy: %w", err)
	}
	raw, err := json.Marshal(p)
	return string(raw), err
}

// parseProof gives a whole path: a detached run's process has another folder.
func parseProof(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	whole, err := filepath.Abs(path)
	if err != nil {
		err = fmt.Errorf("--proof: %w", err)
	}
	return whole, err
}

// parseEnv looks up the values of names that come without one.
func (a *app) parseEnv(words []string) (list []string, err error) {
	for _, word := range words {
		if word == "" || word[0] == '=' {
			err = errors.Join(err, fmt.Errorf("--env %q: want NAME=VALUE or NAME", word))
		}
		if name, value, ok := strings.Cut(word, "="); ok {
			if sealed.Is(value) {
				err = errors.Join(err, inVariable(name, checkSealed(value)))
			}
			list = append(list, word)
		} else if value := a.Getenv(word); value != "" {
			list = append(list, word+"="+value)
		}
	}
	return list, err
}

func inVariable(name string, err error) error {
	if err != nil {
		err = fmt.Errorf("--env %.80s: %w", name, err)
	}
	return err
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
