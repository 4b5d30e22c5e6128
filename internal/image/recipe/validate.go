package recipe

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	suiteForm   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	packageForm = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`) // Debian Policy 5.6.1
	moduleForm  = regexp.MustCompile(`^(\.(/[a-z0-9][A-Za-z0-9._-]*)*|[A-Za-z0-9][A-Za-z0-9._~/-]*@v[0-9][A-Za-z0-9.+-]*)$`)
	goPkgForm   = regexp.MustCompile(`^(\.|\./|[A-Za-z0-9])[A-Za-z0-9._~/-]*$`)
	kmodForm    = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	portForm    = regexp.MustCompile(`^[1-9][0-9]{0,4}/(tcp|udp)$`)
	envForm     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
)

func (r *Recipe) validate() error {
	for _, check := range []func(*Recipe) error{
		(*Recipe).checkHead, (*Recipe).checkAccounts, (*Recipe).checkPaths, (*Recipe).checkOwners,
		(*Recipe).checkPrograms, (*Recipe).checkLayers, (*Recipe).checkOCI, (*Recipe).checkMachine,
	} {
		if err := check(r); err != nil {
			return err
		}
	}
	return nil
}

// match is the check that most values need: a form, and an example of it.
func match(form *regexp.Regexp, what, value, example string) error {
	if form.MatchString(value) {
		return nil
	}
	if value == "" {
		return fmt.Errorf("%s is missing; want for example %s", what, example)
	}
	return fmt.Errorf("%s %q: want for example %s", what, value, example)
}

func (r *Recipe) checkHead() error {
	err := errors.Join(match(nameForm, "name", r.Name, "redis"), match(suiteForm, "suite", r.Suite, "bookworm"),
		match(suiteForm, "architecture", r.Architecture, "amd64"))
	if err != nil {
		return firstOf(err)
	}
	if err := each(r.names(r.Packages), func(p string) error { return match(packageForm, "packages", p, "redis-server") }); err != nil {
		return err
	}
	if err := each(r.names(r.Exclude), func(p string) error { return match(packageForm, "exclude", p, "adduser") }); err != nil {
		return err
	}
	if u, err := url.Parse(r.Mirror); r.Mirror != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("mirror %q: want for example https://HOST/debian", r.Mirror)
	}
	return nil
}

func (r *Recipe) checkPaths() error {
	seen := map[string]bool{}
	claim := func(list, p string) error {
		if err := cleanPath(list, p); err != nil || p == "/" {
			return cmp.Or(err, fmt.Errorf("%s: the root itself cannot be an entry", list))
		}
		if seen[p] {
			return fmt.Errorf("%s: %s: another entry makes it too", list, p)
		}
		seen[p] = true
		return nil
	}
	var errs []error
	for _, d := range r.Directories {
		errs = append(errs, claim("directories: path", d.Path))
	}
	for _, f := range r.Files {
		errs = append(errs, claim("files: path", f.Path), f.checkContent())
	}
	for _, l := range r.Links {
		errs = append(errs, claim("links: path", l.Path))
		if l.Target == "" {
			errs = append(errs, fmt.Errorf("links: %s: target is missing", l.Path))
		}
	}
	for _, p := range r.Programs {
		errs = append(errs, claim("programs: path", p.Path))
	}
	for _, glob := range r.Remove {
		errs = append(errs, cleanPath("remove", glob))
	}
	return firstOf(errors.Join(errs...))
}

func (f File) checkContent() error {
	if (f.Content == nil) == (f.Source == "") {
		return fmt.Errorf("files: %s: want either content or source", f.Path)
	}
	if f.Source != "" && !filepath.IsLocal(f.Source) {
		return fmt.Errorf("files: %s: source %q: want a file beside the recipe", f.Path, f.Source)
	}
	return nil
}

func (r *Recipe) checkPrograms() error {
	for _, p := range r.Programs {
		if err := checkGo("programs: "+p.Path, p.Module, p.Package); err != nil {
			return err
		}
	}
	return nil
}

func checkGo(where, module, pkg string) error {
	return firstOf(errors.Join(match(moduleForm, where+": module", module, `".", a folder below it as ./folder, or example.org/module@v1.2.3`),
		match(goPkgForm, where+": package", pkg, "./cmd/program")))
}

func (r *Recipe) checkOCI() error {
	if r.OCI == nil {
		return nil
	}
	if r.OCI.Workdir != "" {
		if err := cleanPath("oci: workdir", r.OCI.Workdir); err != nil {
			return err
		}
	}
	return firstOf(errors.Join(
		each(r.OCI.Env, func(e string) error { return match(envForm, "oci: env", e, "NAME=value") }),
		each(r.OCI.Ports, func(p string) error { return match(portForm, "oci: ports", p, "6379/tcp") })))
}

func (r *Recipe) checkMachine() error {
	m := r.Machine
	if m == nil {
		return nil
	}
	if strings.ContainsAny(m.Cmdline, "\n\x00") || strings.Contains(m.Cmdline, "holdfast.roothash=") {
		return errors.New("machine: cmdline: want one line without holdfast.roothash, which the build adds")
	}
	return firstOf(errors.Join(
		match(packageForm, "machine: kernel", r.name(m.Kernel), "linux-image-cloud-amd64"),
		match(packageForm, "machine: stub", r.name(m.Stub), "systemd-boot-efi"),
		each(m.Modules, func(k string) error { return match(kmodForm, "machine: modules", k, "virtio_blk") }),
		checkGo("machine: init", m.Init.Module, m.Init.Package)))
}

// cleanPath wants an absolute path in its shortest form.
func cleanPath(what, p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsAny(p, "\x00\n") {
		return fmt.Errorf("%s %q: want an absolute path without \"..\", double or final slashes", what, p)
	}
	return nil
}

func each(list []string, check func(string) error) error {
	for _, s := range list {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

// firstOf gives the first of joined errors: one line is what a person reads.
func firstOf(err error) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()[0]
	}
	return err
}
