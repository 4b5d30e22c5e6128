package supervise

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"holdfast/internal/supervise/quoted"
)

// environment is what a service's programs get, as systemd.exec(5) orders it:
// the later counts.
func (p Process) environment(id identity, own func(string) (string, bool)) ([]string, error) {
	env := []string{"PATH=" + strings.Join(searchPath, ":")}
	if id.logins {
		env = append(env, "HOME="+id.home, "LOGNAME="+id.name, "USER="+id.name)
	}
	env = append(env, "INVOCATION_ID="+invocation())
	env = append(env, p.folderVariables()...)
	for _, name := range p.PassEnv {
		if v, ok := own(name); ok {
			env = append(env, name+"="+v)
		}
	}
	env = append(env, p.Env...)
	for _, f := range p.EnvFiles {
		more, err := f.read()
		if err != nil {
			return nil, err
		}
		env = append(env, more...)
	}
	return unset(env, p.UnsetEnv), nil
}

// invocation is the random name of one start (systemd.exec(5)).
func invocation() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func unset(env, names []string) []string {
	return slices.DeleteFunc(env, func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains(names, name) || slices.Contains(names, e)
	})
}

// lookup is the last value of a variable.
func lookup(env []string, name string) (value string) {
	for _, e := range env {
		if n, v, _ := strings.Cut(e, "="); n == name {
			value = v
		}
	}
	return value
}

// maxEnvFile is more than a process can be given.
const maxEnvFile = 2 << 20

func (f EnvFile) read() ([]string, error) {
	raw, err := os.ReadFile(f.Path)
	if f.Optional && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(raw) > maxEnvFile {
		return nil, fmt.Errorf("%s: has more than %d bytes", f.Path, maxEnvFile)
	}
	env, err := parseEnvFile(string(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return env, nil
}

// expand replaces variables in a command's words (systemd.service(5), "Command
// lines"): $NAME as a word becomes words of its own, ${NAME} stays in its word,
// $$ is a dollar.
func expand(args, env []string) []string {
	var words []string
	for i, arg := range args {
		name, alone := strings.CutPrefix(arg, "$")
		if i > 0 && alone && isName(name) {
			more, err := quoted.Words(lookup(env, name))
			if err != nil {
				more = strings.Fields(lookup(env, name)) // a quote that is not closed is one like any letter
			}
			words = append(words, more...)
			continue
		}
		words = append(words, substitute(arg, env))
	}
	return words
}

func substitute(word string, env []string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(word, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		word = after
		if rest, ok := strings.CutPrefix(word, "$"); ok {
			b.WriteByte('$')
			word = rest
			continue
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(word, "{"), "}")
		if !strings.HasPrefix(word, "{") || !closed || !isName(name) {
			b.WriteByte('$')
			continue
		}
		b.WriteString(lookup(env, name))
		word = rest
	}
}

func isName(s string) bool {
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
