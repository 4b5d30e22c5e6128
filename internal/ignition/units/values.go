package units

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/internal/supervise"
	"holdfast/internal/supervise/quoted"
)

var booleans = map[string]bool{
	"1": true, "yes": true, "y": true, "true": true, "t": true, "on": true,
	"0": false, "no": false, "n": false, "false": false, "f": false, "off": false,
}

func boolean(v string) (bool, error) {
	b, ok := booleans[strings.ToLower(v)]
	if !ok {
		return false, errors.New("is neither yes nor no")
	}
	return b, nil
}

// oneOf is a word of a list.
func oneOf(v string, words ...string) error {
	for _, w := range words {
		if v == w {
			return nil
		}
	}
	return fmt.Errorf("%.40q is outside the subset: want %s", v, strings.Join(words, ", "))
}

func absolute(v string) (string, error) {
	if !path.IsAbs(v) {
		return "", errors.New("is no absolute path")
	}
	for part := range strings.SplitSeq(v, "/") {
		if part == ".." {
			return "", errors.New("has .. in its path")
		}
	}
	return path.Clean(v), nil
}

func octal(v string) (int, error) {
	n, err := strconv.ParseUint(v, 8, 12)
	if err != nil {
		return 0, errors.New("is no mode: want octal digits up to 7777")
	}
	return int(n), nil
}

func integer(v string, low, high int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("is no number from %d to %d", low, high)
	}
	return n, nil
}

func signal(v string) (unix.Signal, error) {
	name := "SIG" + strings.TrimPrefix(v, "SIG")
	if s := unix.SignalNum(name); s != 0 {
		return s, nil
	}
	if n, err := integer(v, 1, 64); err == nil {
		return unix.Signal(n), nil
	}
	return 0, errors.New("is no signal: want a name, as SIGTERM")
}

// statuses reads exit codes and signals.
func statuses(v string) (s supervise.Statuses, err error) {
	for word := range strings.FieldsSeq(v) {
		if code, err := integer(word, 0, 255); err == nil {
			s.Codes = append(s.Codes, code)
			continue
		}
		if code, ok := exitNames[word]; ok {
			s.Codes = append(s.Codes, code)
			continue
		}
		n, err := signal(word)
		if err != nil {
			return s, fmt.Errorf("%.40q is neither an exit code nor a signal", word)
		}
		s.Signals = append(s.Signals, n)
	}
	return s, nil
}

// exitNames are sysexits.h's, as systemd.exec(5) lists them.
var exitNames = map[string]int{
	"SUCCESS": 0, "FAILURE": 1, "USAGE": 64, "DATAERR": 65, "NOINPUT": 66, "NOUSER": 67, "NOHOST": 68, "UNAVAILABLE": 69, "SOFTWARE": 70, "OSERR": 71,
	"OSFILE": 72, "CANTCREAT": 73, "IOERR": 74, "TEMPFAIL": 75, "PROTOCOL": 76, "NOPERM": 77, "CONFIG": 78,
}

// limits of setrlimit(2) by the name behind Limit; those of bytes may have a
// suffix.
var limits = map[string]struct {
	resource int
	bytes    bool
}{
	"NOFILE": {syscall.RLIMIT_NOFILE, false}, "NPROC": {unix.RLIMIT_NPROC, false}, "CORE": {unix.RLIMIT_CORE, true},
	"MEMLOCK": {unix.RLIMIT_MEMLOCK, true}, "STACK": {unix.RLIMIT_STACK, true}, "AS": {unix.RLIMIT_AS, true}, "FSIZE": {unix.RLIMIT_FSIZE, true},
}

// limit reads SOFT:HARD or one number for both.
func limit(name, v string) (l supervise.Limit, err error) {
	of := limits[name]
	l.Resource = of.resource
	soft, hard, two := strings.Cut(v, ":")
	if !two {
		hard = soft
	}
	if l.Soft, err = limitValue(soft, of.bytes); err != nil {
		return l, err
	}
	if l.Hard, err = limitValue(hard, of.bytes); err != nil {
		return l, err
	}
	if l.Soft > l.Hard {
		return l, errors.New("has a soft limit above the hard one")
	}
	return l, nil
}

func limitValue(v string, bytes bool) (uint64, error) {
	if v == "infinity" {
		return math.MaxUint64, nil
	}
	scale := uint64(1)
	if n := len(v); bytes && n > 0 {
		if i := strings.IndexByte("KMGTPE", v[n-1]); i >= 0 {
			scale, v = 1<<(10*(i+1)), v[:n-1]
		}
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || n > math.MaxUint64/scale {
		return 0, errors.New("is no limit: want a number, SOFT:HARD or infinity")
	}
	return n * scale, nil
}

// words splits a value in which quotes count.
func (b *builder) words(v string) ([]string, error) {
	words, err := quoted.Words(v)
	if err != nil {
		return nil, err
	}
	for i := range words {
		if words[i], err = b.expand(words[i]); err != nil {
			return nil, err
		}
	}
	return words, nil
}

func (b *builder) expand(v string) (string, error) { return specifiers(v, b.unit.Name, b.host) }
