// Command units tells how much of what others run is inside the subset of unit files
// that machines without systemd read.
//
//	go run ./test/units -page docs/formats/units.md FOLDER
//
// FOLDER has a folder for each package, with its files in it: make units gets
// them from Debian. The page's section on them is written anew.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/atomicfile"
	"holdfast/internal/ignition/rooted"
	"holdfast/internal/ignition/units"
)

func main() {
	page := flag.String("page", "", "the page to write the section of")
	flag.Parse()
	if err := run(*page, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "units:", err)
		os.Exit(1)
	}
}

func run(page string, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one folder, got %q", args)
	}
	packages, err := filepath.Glob(filepath.Join(args[0], "*"))
	if err != nil {
		return err
	}
	c := count{outside: map[string]map[string]bool{}}
	for _, dir := range packages {
		if err := c.add(dir); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	if c.units == 0 {
		return fmt.Errorf("%s: has no units: run make units", args[0])
	}
	section := c.section()
	fmt.Print(section)
	if page == "" {
		return nil
	}
	raw, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text, err := replaced(string(raw), section)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return atomicfile.WriteFile(page, []byte(text), 0o644)
}

// A count is of packages' units.
type count struct {
	packages []string
	units    int
	outside  map[string]map[string]bool // by unit: why
}

// add counts the units of a package; what they need of others is not there.
func (c *count) add(dir string) error {
	root, err := rooted.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	before := c.units
	for _, at := range units.Dirs {
		files, err := filepath.Glob(filepath.Join(dir, at, "*.*"))
		if err != nil {
			return err
		}
		for _, f := range files {
			if info, err := os.Lstat(f); err == nil && info.Mode().IsRegular() {
				c.units++
			}
		}
	}
	if c.units > before {
		c.packages = append(c.packages, filepath.Base(dir))
	}
	problems, err := units.Check(units.Root{Dir: root}, units.Host{})
	for _, p := range problems {
		if p.Warning {
			continue
		}
		name := filepath.Base(dir) + " " + p.Unit
		if c.outside[name] == nil {
			c.outside[name] = map[string]bool{}
		}
		c.outside[name][reason(p)] = true
	}
	return err
}

// reason is what many units have in common.
func reason(p units.Problem) string {
	switch kind := filepath.Ext(p.Unit); {
	case p.Directive == "" && kind != ".service" && kind != ".timer" && kind != ".target":
		return "it is a `" + kind + "`"
	case strings.Contains(p.Problem, "there is no such unit"):
		return "it requires a unit of another package"
	}
	if _, other, ok := strings.Cut(p.Problem, `"`); ok && p.Section != "Service" {
		if name, _, ok := strings.Cut(other, `" is outside`); ok {
			return "it requires a `" + filepath.Ext(name) + "`"
		}
	}
	return "`" + p.Directive + "`"
}

const title = "## Of Debian's daemons"

func (c *count) section() string {
	all, alone := map[string]int{}, map[string]int{}
	for _, why := range c.outside {
		for w := range why {
			all[w]++
			if len(why) == 1 {
				alone[w]++
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n`make units` reads the %d units of %d packages of Debian, each package by itself: %d are inside the subset. What keeps the others out:\n\n", title, c.units, len(c.packages), c.units-len(c.outside))
	b.WriteString("| what | units | nothing else keeps out |\n|---|---|---|\n")
	var why []string
	for w := range all {
		why = append(why, w)
	}
	slices.SortFunc(why, func(a, b string) int {
		if d := all[b] - all[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, w := range why {
		fmt.Fprintf(&b, "| %s | %d | %d |\n", w, all[w], alone[w])
	}
	fmt.Fprintf(&b, "\nThe packages: %s.\n", strings.Join(c.packages, ", "))
	return b.String()
}

// replaced is the page with another section.
func replaced(page, section string) (string, error) {
	before, rest, ok := strings.Cut(page, title+"\n")
	if !ok {
		return "", fmt.Errorf("has no section %q", title)
	}
	if at := strings.Index(rest, "\n## "); at >= 0 {
		return before + section + rest[at:], nil
	}
	return before + section, nil
}
