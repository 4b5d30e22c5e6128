package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/form"
	"holdfast/internal/input"
	"holdfast/internal/login"
)

// document is the file as YAML; docs/formats/upstreams.md describes it.
type document struct {
	Upstreams []entryText `yaml:"upstreams"`
}

type entryText struct {
	Prefix      form.Word  `yaml:"prefix"`
	URL         form.Word  `yaml:"url"`
	Namespaces  form.Words `yaml:"namespaces"`
	Credentials form.Word  `yaml:"credentials"`
	CA          form.Word  `yaml:"ca"`
	Recheck     form.Word  `yaml:"recheck"`
}

// A FormError says that a file does not have the form of a list of upstreams.
type FormError struct{ Reason error }

func (e *FormError) Error() string { return e.Reason.Error() }
func (e *FormError) Unwrap() error { return e.Reason }

// Load reads the list of upstreams in a file, and the files that it names.
// Which files these are it tells even when it fails.
func Load(path string, c Config) (*Set, []string, error) {
	c = c.withDefaults()
	files := []string{path}
	b, err := input.ReadFile(path, input.Document)
	if err != nil {
		return nil, files, fmt.Errorf("upstreams: %w", err)
	}
	texts, entries, err := parse(b)
	if err != nil {
		return nil, files, &FormError{fmt.Errorf("%s%w", path, err)}
	}
	s := &Set{}
	for i, text := range texts {
		text.name(filepath.Dir(path), &files)
		u, err := open(text, entries[i], c)
		if err != nil {
			return nil, files, &FormError{fmt.Errorf("%s%w", path, err)}
		}
		s.upstreams = append(s.upstreams, u)
	}
	return s, files, nil
}

// name makes an entry's paths, which are relative to the folder of its file,
// whole, and adds them to files.
func (t *entryText) name(dir string, files *[]string) {
	for _, w := range []*form.Word{&t.Credentials, &t.CA} {
		if w.Text == "" {
			continue
		}
		if !filepath.IsAbs(w.Text) {
			w.Text = filepath.Join(dir, w.Text)
		}
		*files = append(*files, w.Text)
	}
}

// parse gives errors that begin with ":LINE: ", to follow a file's name.
func parse(b []byte) ([]entryText, []entry, error) {
	var d document
	if err := form.Decode(b, &d, entryText{}); err != nil {
		return nil, nil, err
	}
	entries := []entry{}
	prefixes, namespaces := map[string]bool{}, map[string]bool{}
	for i, text := range d.Upstreams {
		e, err := text.parse(i)
		if err != nil {
			return nil, nil, err
		}
		if prefixes[e.prefix] {
			return nil, nil, form.At(text.Prefix.Line, "prefix %s: another upstream has it", e.prefix)
		}
		prefixes[e.prefix] = true
		for _, n := range e.namespaces {
			if namespaces[n] {
				return nil, nil, form.At(text.Prefix.Line, "namespace %s: another upstream has it", n)
			}
			namespaces[n] = true
		}
		entries = append(entries, e)
	}
	return d.Upstreams, entries, nil
}

var (
	prefixForm    = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	namespaceForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
)

func (t entryText) parse(i int) (entry, error) {
	e := entry{prefix: t.Prefix.Text}
	switch {
	case t.Prefix.Line == 0:
		return e, form.At(max(1, t.URL.Line), "upstream %d has no prefix", i+1)
	case !prefixForm.MatchString(e.prefix) || len(e.prefix) > 128:
		return e, form.At(t.Prefix.Line, "prefix %.80q: want a repository's name or its beginning, as docker.io", e.prefix)
	case t.URL.Line == 0:
		return e, form.At(t.Prefix.Line, "upstream %s has no url", e.prefix)
	}
	if err := e.setURL(t.URL.Text); err != nil {
		return e, form.At(t.URL.Line, "url %.80q: %v", t.URL.Text, err)
	}
	if e.url.Scheme == "http" && t.Credentials.Text != "" && !isOurs(e.url.Hostname()) {
		return e, form.At(t.Credentials.Line, "credentials would be anybody's on the way: want an https url")
	}
	for _, n := range t.Namespaces {
		if !namespaceForm.MatchString(n.Text) {
			return e, form.At(n.Line, "namespace %.80q: want HOST[:PORT]", n.Text)
		}
		e.namespaces = append(e.namespaces, n.Text)
	}
	if t.Namespaces == nil && namespaceForm.MatchString(e.prefix) {
		e.namespaces = []string{e.prefix}
	}
	if t.Recheck.Text != "" {
		seconds, err := strconv.ParseUint(t.Recheck.Text, 10, 31)
		if err != nil || seconds == 0 {
			return e, form.At(t.Recheck.Line, "recheck %.40q: want a number of seconds", t.Recheck.Text)
		}
		e.recheck = time.Duration(seconds) * time.Second
	}
	return e, nil
}

func (e *entry) setURL(text string) error {
	const want = "want https://HOST[:PORT][/PATH]"
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || !namespaceForm.MatchString(u.Host) && !isIPv6(u.Host) {
		return errors.New(want)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New(want + " and nothing else; user and password belong in a file of credentials")
	}
	path := strings.Trim(u.Path, "/")
	if path != "" && !prefixForm.MatchString(path) {
		return errors.New(want + ", where PATH is the beginning of repositories' names")
	}
	if path != "" {
		e.path = path + "/"
	}
	e.url = &url.URL{Scheme: u.Scheme, Host: u.Host}
	return nil
}

func isIPv6(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.Contains(host, ":") && net.ParseIP(strings.Trim(host, "[]")) != nil
}

// open reads the files that an entry names.
func open(t entryText, e entry, c Config) (*upstream, error) {
	u := &upstream{entry: e, c: c, clients: &clients{}}
	if u.recheck == 0 {
		u.recheck = c.Recheck
	}
	u.tags = &tags{life: u.recheck, now: c.Now}
	var err error
	if t.Credentials.Text != "" {
		if u.login, err = readLogin(t.Credentials.Text, e.url.Host, e.namespaces); err != nil {
			return nil, form.At(t.Credentials.Line, "credentials: %v", err)
		}
	}
	if t.CA.Text != "" {
		if u.roots, err = readRoots(t.CA.Text); err != nil {
			return nil, form.At(t.CA.Line, "ca: %v", err)
		}
	}
	u.manners = &manners{RoundTripper: u.newTransport(), host: e.url.Host, now: c.Now}
	return u, nil
}

func readRoots(path string) (*x509.CertPool, error) {
	pem, err := input.ReadFile(path, input.Key)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in PEM form is in it", path)
	}
	return pool, nil
}

// readLogin finds a host's login in a file.
func readLogin(path, host string, names []string) (login.Login, error) {
	f, err := login.Open(path)
	if err != nil {
		return login.Login{}, err
	}
	l, ok, err := f.Find(append([]string{host}, names...)...)
	if err == nil && !ok {
		err = fmt.Errorf("%s: no login for %s is in it", path, host)
	}
	return l, err
}
