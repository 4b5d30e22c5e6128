package tmpfiles

import (
	"fmt"
	"strconv"
	"strings"
)

// ids are the accounts of a root.
type ids struct{ users, groups map[string]int }

func (s *Set) readIDs() ids {
	return ids{s.readTable("/etc/passwd"), s.readTable("/etc/group")}
}

// readTable reads names and numbers; a root may have none.
func (s *Set) readTable(file string) map[string]int {
	table := map[string]int{"root": 0}
	at, err := s.dir.Follow(file)
	if err != nil {
		return table
	}
	raw, _ := s.dir.ReadFile(at)
	for line := range strings.SplitSeq(string(raw), "\n") {
		if fields := strings.Split(line, ":"); len(fields) > 2 {
			if id, err := strconv.Atoi(fields[2]); err == nil {
				table[fields[0]] = id
			}
		}
	}
	return table
}

func (i ids) user(name string) (int, error)  { return number(i.users, "user", name) }
func (i ids) group(name string) (int, error) { return number(i.groups, "group", name) }

func number(table map[string]int, kind, name string) (int, error) {
	if id, ok := table[name]; ok {
		return id, nil
	}
	if id, err := strconv.ParseUint(name, 10, 32); err == nil && id < 1<<32-1 {
		return int(id), nil
	}
	return 0, fmt.Errorf("there is no %s %s", kind, name)
}
