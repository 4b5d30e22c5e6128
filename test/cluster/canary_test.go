package cluster

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// guestMemory is how much a machine has whose pod has no limit.
const guestMemory = 1 << 30

// A find is where a text was found, and which.
type find struct{ where, what string }

// noCanary searches the node for what only the pod's machine may see: all files, what
// is in memory as a file too, and the memory of all processes. Of QEMU it leaves out the machine's
// own memory, which hardware would have to encrypt; that it is found there, and the
// marker nearly everywhere, says that the search can find.
func (c *confidentialLab) noCanary() {
	c.Helper()
	texts := []string{imageCanary, secretCanary, marker}
	inside := map[string]int{}
	var finds []find
	for _, p := range c.processes(c.cluster) {
		found, guest := c.memory(p, texts)
		finds = append(finds, found...)
		for _, f := range guest {
			inside[f.what]++
		}
	}
	files, bytes := c.files(texts)
	finds = append(finds, files...)
	marks := 0
	for _, f := range finds {
		if f.what == marker {
			marks++
			continue
		}
		c.Errorf("%s is in %s", f.what, f.where)
	}
	c.Logf("searched %d MiB of files; the marker is in %d places; in the machine's own memory are %v", bytes>>20, marks, inside)
	if marks < 3 || inside[imageCanary] == 0 || inside[secretCanary] == 0 {
		c.Errorf("the search does not find what is there: %d marks, in the machine's memory %v", marks, inside)
	}
}

// processes are all of the node, by the control group that it has on this machine.
func (l *lab) processes(cluster string) (pids []int) {
	l.Helper()
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", l.pid(cluster)))
	check(l.TB, err)
	group := ownGroups.FindString(string(own))
	if group == "" {
		l.Fatalf("node is in no control group of ours: %s", own)
	}
	all, err := filepath.Glob("/proc/[0-9]*/cgroup")
	check(l.TB, err)
	for _, path := range all {
		raw, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(raw), group+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		check(l.TB, err)
		pids = append(pids, pid)
	}
	return pids
}

func words(pid int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(string(line), "\x00", " ")
}

// memory searches all of a process that can be read; the machine's apart (proc(5)).
func (c *confidentialLab) memory(pid int, texts []string) (found, guest []find) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, nil // it ended meanwhile
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, nil
	}
	defer mem.Close()
	command := words(pid)
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || mode[0] != 'r' || strings.Contains(line, "[v") {
			continue
		}
		into := &found
		if strings.Contains(command, "/qemu-system") && to-from == guestMemory && strings.HasPrefix(mode, "rw-") {
			into = &guest
		}
		for _, text := range within(io.NewSectionReader(mem, from, to-from), texts) {
			*into = append(*into, find{fmt.Sprintf("the memory of %d, %.120s, at %x", pid, command, from), text})
		}
	}
	return found, guest
}

// within reads to the end, or to where nothing more can be read.
func within(r io.Reader, texts []string) (found []string) {
	const longest = 64
	buf := make([]byte, longest+1<<20)
	seen := map[string]bool{}
	kept := 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		for _, text := range texts {
			if !seen[text] && bytes.Contains(buf[:kept+n], []byte(text)) {
				seen[text], found = true, append(found, text)
			}
		}
		if err != nil {
			return found
		}
		kept = copy(buf, buf[len(buf)-longest:])
	}
}

// files searches all that the node sees as a file, but what the kernel makes up and
// what all machines of pods are started from.
func (c *confidentialLab) files(texts []string) (finds []find, size int64) {
	c.Helper()
	root := fmt.Sprintf("/proc/%d/root", c.pid(c.cluster))
	skip := map[string]bool{root + "/proc": true, root + "/sys": true, root + "/dev": true, root + "/opt": true}
	err := filepath.WalkDir(root+"/", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && skip[filepath.Clean(path)] {
			return fs.SkipDir
		}
		if err != nil || !d.Type().IsRegular() {
			return nil // files come and go while we look
		}
		f, err := os.Open(path)
		if err != nil {
			return nil
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil {
			size += info.Size()
		}
		for _, text := range within(f, texts) {
			finds = append(finds, find{strings.TrimPrefix(path, root), text})
		}
		return nil
	})
	check(c.TB, err)
	return finds, size
}
