package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition/rooted"
)

// Fields of the tables, in the words of the config.
var (
	userFields  = []string{"", "password", "uid", "primary group", "gecos", "home", "shell"}
	dayFields   = []string{"", "password", "day of the password", "", "", "", "", "", ""}
	groupFields = []string{"", "password", "gid", "members"}
	secretGroup = []string{"", "password", "administrators", "members"}
)

// accounts tells users and groups of the config by the rows that they have
// before and after.
func (p *Plan) accounts(c types.Config, before, after string) error {
	was, err := readAccounts(before)
	if err != nil {
		return err
	}
	is, err := readAccounts(after)
	if err != nil {
		return err
	}
	for i, g := range c.Passwd.Groups {
		p.account("group", g.Name, fmt.Sprintf("$.passwd.groups[%d]", i), was, is, map[string][]string{"group": groupFields, "gshadow": secretGroup})
	}
	for i, u := range c.Passwd.Users {
		p.account("user", u.Name, fmt.Sprintf("$.passwd.users[%d]", i), was, is, map[string][]string{"passwd": userFields, "shadow": dayFields})
	}
	return nil
}

func (p *Plan) account(kind, name, field string, was, is tables, files map[string][]string) {
	main := "group"
	if kind == "user" {
		main = "passwd"
	}
	change := Change{Kind: kind, Name: name, Field: field, Action: Keep}
	before, after := was[main][name], is[main][name]
	switch {
	case before == nil && after == nil:
		change.Why = "there is none"
	case before == nil:
		change.Action = Create
	case after == nil:
		change.Action = Delete
	default:
		var list []string
		for file, words := range files {
			list = append(list, differing(was[file][name], is[file][name], words)...)
		}
		slices.Sort(list)
		if list = slices.Compact(list); len(list) > 0 {
			change.Action, change.Why = Update, strings.Join(list, ", ")
		}
	}
	p.add(change)
}

// differing names fields, never their values.
func differing(was, is, words []string) []string {
	var list []string
	for i, word := range words {
		if word != "" && i < len(was) && i < len(is) && was[i] != is[i] {
			list = append(list, word)
		}
	}
	return list
}

// tables are rows by file and name.
type tables map[string]map[string][]string

func readAccounts(root string) (tables, error) {
	dir, err := rooted.Open(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	all := tables{}
	for _, file := range []string{"passwd", "shadow", "group", "gshadow"} {
		at, err := dir.Resolve("/etc/" + file)
		if err != nil {
			return nil, err
		}
		raw, err := dir.ReadFile(at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		rows := map[string][]string{}
		for line := range strings.Lines(string(raw)) {
			row := strings.Split(strings.TrimSuffix(line, "\n"), ":")
			rows[row[0]] = row
		}
		all[file] = rows
	}
	return all, nil
}
