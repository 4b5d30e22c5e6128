package accounts

import (
	"fmt"
	"strconv"
)

// used are the ids in a field of a table.
func (t *table) used(field int) map[int]bool {
	ids := map[int]bool{}
	for _, row := range t.rows {
		if len(row) != t.fields {
			continue
		}
		if id, err := strconv.Atoi(row[field]); err == nil {
			ids[id] = true
		}
	}
	return ids
}

// free picks an id as useradd and groupadd do: above all that people have, and
// below all that the system has; where there is no more room, any that is free.
func (d *Database) free(kind string, system bool, used map[int]bool) (int, error) {
	prefix := kind
	if system {
		prefix = "SYS_" + kind
	}
	least, most := d.defs.number(prefix+"_MIN"), d.defs.number(prefix+"_MAX")
	up, down := least, most
	for id := range used {
		if id >= up && id <= most {
			up = id + 1
		}
		if id <= down && id >= least {
			down = id - 1
		}
	}
	if system {
		return first(down, least, -1, most, used)
	}
	return first(up, most, 1, least, used)
}

// first tries the ids from one on, and then those that it left out.
func first(from, to, step, again int, used map[int]bool) (int, error) {
	for _, start := range []int{from, again} {
		for id := start; (to-id)*step >= 0; id += step {
			if !used[id] {
				return id, nil
			}
		}
	}
	return 0, fmt.Errorf("no id is free between %d and %d", again, to)
}

// spare is the first gap among the ranges of subordinate ids.
func (d *Database) spare(kind string, t *table) (start, count int, ok bool) {
	least, most, count := d.defs.number(kind+"_MIN"), d.defs.number(kind+"_MAX"), d.defs.number(kind+"_COUNT")
	start = least
	for moved := true; moved; {
		moved = false
		for _, row := range t.rows {
			if len(row) != t.fields {
				continue
			}
			from, err1 := strconv.Atoi(row[1])
			n, err2 := strconv.Atoi(row[2])
			if err1 == nil && err2 == nil && from < start+count && start < from+n {
				start, moved = from+n, true
			}
		}
	}
	return start, count, count > 0 && start+count-1 <= most
}
