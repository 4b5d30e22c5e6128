package attack

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// A mapping is a piece of a process's memory: proc(5), smaps.
type mapping struct {
	start, end int64
	name       string
	readable   bool
	resident   bool
	dumped     bool // into a core file
}

func mappings(pid int) (list []mapping, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		first, second, isRange := strings.Cut(words[0], "-")
		start, err1 := strconv.ParseInt(first, 16, 64)
		end, err2 := strconv.ParseInt(second, 16, 64)
		switch {
		case isRange && err1 == nil && err2 == nil:
			list = append(list, mapping{start: start, end: end, name: strings.Join(words[5:], " "), readable: words[1][0] == 'r', dumped: true})
		case len(list) == 0:
		case words[0] == "Rss:":
			list[len(list)-1].resident = words[1] != "0"
		case words[0] == "VmFlags:": // "dd" is madvise(2)'s MADV_DONTDUMP
			list[len(list)-1].dumped = !strings.Contains(lines.Text(), " dd")
		}
	}
	return list, lines.Err()
}

// memory tells in which mappings of a process the secret lies.
func (s *search) memory(pid int) (found []mapping, err error) {
	list, err := mappings(pid)
	if err != nil {
		return nil, err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	for _, m := range list {
		if !m.readable || !m.resident || strings.HasPrefix(m.name, "[v") { // vvar and vsyscall cannot be read
			continue
		}
		forms, err := s.in(io.NewSectionReader(mem, m.start, m.end-m.start))
		if len(forms) > 0 {
			found = append(found, m)
		}
		var fault *os.PathError
		if err != nil && !errors.As(err, &fault) { // parts of a mapping may be gone
			return nil, err
		}
	}
	return found, nil
}

// processOf finds the process whose command line has word.
func processOf(word string) (pid int, err error) {
	entries, err := os.ReadDir("/proc")
	for _, e := range entries {
		n, isPID := strconv.Atoi(e.Name())
		if isPID != nil || n == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.Contains(string(line), word) {
			return n, nil
		}
	}
	return 0, errors.Join(err, fmt.Errorf("no process has %s on its command line", word))
}
