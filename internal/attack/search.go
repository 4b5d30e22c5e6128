package attack

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/internal/broker/state"
)

// A search looks for a secret, in the forms that programs write things in. A
// compressed or encrypted copy it does not find.
type search struct {
	needles map[string][]byte // by form
	longest int
}

func newSearch(secret string) *search {
	plain := []byte(secret)
	s := &search{needles: map[string][]byte{
		"plain": plain, "hex": []byte(hex.EncodeToString(plain)), "upper-case hex": []byte(strings.ToUpper(hex.EncodeToString(plain))),
		"UTF-16": bytes.Join(bytes.SplitAfter(plain, nil), []byte{0}),
	}}
	for shift := range 3 {
		s.needles[fmt.Sprintf("base64, shifted by %d", shift)] = shifted(base64.RawStdEncoding, plain, shift)
		s.needles[fmt.Sprintf("URL's base64, shifted by %d", shift)] = shifted(base64.RawURLEncoding, plain, shift)
	}
	for _, n := range s.needles {
		s.longest = max(s.longest, len(n))
	}
	return s
}

// shifted is how base64 shows plain behind shift other bytes, as far as the
// bytes around it have no part in that.
func shifted(e *base64.Encoding, plain []byte, shift int) []byte {
	text := e.EncodeToString(append(make([]byte, shift), plain...))
	return []byte(text[(shift*8+5)/6 : (shift+len(plain))*8/6])
}

var zeros = make([]byte, 1<<20)

// in tells the forms in which the secret is in what r gives.
func (s *search) in(r io.Reader) (forms []string, err error) {
	window := make([]byte, 0, len(zeros))
	for {
		n, err := io.ReadFull(r, window[len(window):cap(window)])
		window = window[:len(window)+n]
		if n == len(zeros) && bytes.Equal(window, zeros) { // most of a machine's memory
			window = window[:0]
			continue
		}
		for form, needle := range s.needles {
			if bytes.Contains(window, needle) && !slices.Contains(forms, form) {
				forms = append(forms, form)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return forms, nil
		}
		if err != nil {
			return forms, err
		}
		keep := min(len(window), s.longest-1) // it may go on behind
		window = append(window[:0], window[len(window)-keep:]...)
	}
}

// A find is where the secret is.
type find struct {
	where string
	forms []string
}

func (f find) String() string { return f.where + " (" + strings.Join(f.forms, ", ") + ")" }

func (s *search) file(path string) ([]find, error) {
	read := s.open
	if strings.HasPrefix(filepath.Base(path), state.File) {
		read = s.database
	}
	forms, err := read(path)
	if len(forms) == 0 {
		return nil, err
	}
	slices.Sort(forms)
	return []find{{path, forms}}, err
}

func (s *search) open(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.in(f)
}

// database has another process read a file of a broker's database: to close it here
// would let go of the locks that brokers of this process have on it, and two that
// write at once damage it (sqlite.org/howtocorrupt.html, 2.2).
func (s *search) database(path string) ([]string, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	var says bytes.Buffer
	cat := exec.Command("cat", "--", path)
	cat.Stderr = &says
	out, err := cat.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cat.Start(); err != nil {
		return nil, err
	}
	forms, err := s.in(out)
	if e := cat.Wait(); err == nil && e != nil {
		err = fmt.Errorf("read %s: %w: %s", path, e, strings.TrimSpace(says.String()))
	}
	if _, gone := os.Stat(path); gone != nil { // meanwhile
		err = gone
	}
	return forms, err
}

// below looks into every file below dir that was written after since, and at
// their names. Files that go away meanwhile are left out.
func (s *search) below(dir string, since time.Time) (found []find, looked int, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		if forms, _ := s.in(strings.NewReader(filepath.Base(path))); len(forms) > 0 {
			found = append(found, find{"the name " + path, forms})
		}
		info, err := e.Info()
		if err != nil || !e.Type().IsRegular() || info.ModTime().Before(since) {
			return nil
		}
		looked++
		more, err := s.file(path)
		found = append(found, more...)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		return err
	})
	return found, looked, err
}

// processes looks into the command lines and environments of all processes.
func (s *search) processes() (found []find, looked int, err error) {
	for _, what := range []string{"cmdline", "environ"} {
		paths, err := filepath.Glob("/proc/[0-9]*/" + what)
		if err != nil {
			return nil, 0, err
		}
		for _, path := range paths {
			more, err := s.file(path)
			if err != nil {
				continue // it ended, or is a kernel's
			}
			looked++
			found = append(found, more...)
		}
	}
	return found, looked, nil
}
