// Package nearest guesses which name a person meant.
//
// An error about an unknown name is twice as useful with the right one in it.
package nearest

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// Names gives up to three of have that look most like name, best first, and
// none when nothing comes close.
func Names(name string, have iter.Seq[string]) []string {
	type guess struct {
		name string
		far  int
	}
	var close []guess
	limit := max(1, len(name)/3)
	for h := range have {
		if far := distance(name, h, limit); far <= limit {
			close = append(close, guess{h, far})
		}
	}
	slices.SortFunc(close, func(a, b guess) int {
		return cmp.Or(a.far-b.far, strings.Compare(a.name, b.name))
	})
	var names []string
	for _, g := range close[:min(3, len(close))] {
		names = append(names, g.name)
	}
	return names
}

// Hint is "; did you mean a, b?" with the nearest names, or nothing.
func Hint(name string, have iter.Seq[string]) string {
	names := Names(name, have)
	if len(names) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(names, ", ") + "?"
}

// distance is how many letters must be put in, left out, changed or swapped
// with their neighbour to get from a to b; above limit it may stop counting.
// A name that only goes on is one away ("redis", "redis-server").
func distance(a, b string, limit int) int {
	if a != "" && (strings.HasPrefix(b, a+"-") || strings.HasPrefix(a, b+"-")) {
		return 1
	}
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	var before, above, row []int
	for j := range len(b) + 1 {
		above = append(above, j)
	}
	for i := 1; i <= len(a); i++ {
		row = append(make([]int, 0, len(b)+1), i)
		for j := 1; j <= len(b); j++ {
			row = append(row, step(a, b, i, j, before, above, row))
		}
		before, above = above, row
	}
	return above[len(b)]
}

func step(a, b string, i, j int, before, above, row []int) int {
	change := 1
	if a[i-1] == b[j-1] {
		change = 0
	}
	best := min(above[j]+1, row[j-1]+1, above[j-1]+change)
	if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
		best = min(best, before[j-2]+1)
	}
	return best
}
