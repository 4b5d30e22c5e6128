package recipe

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var accountForm = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

func (r *Recipe) checkAccounts() error {
	// Every image has root, and nobody of nogroup.
	names, ids := map[string]bool{"root": true, "nobody": true}, map[int]bool{0: true, nobody: true}
	for _, u := range r.Users {
		if err := account("users", u.Name, u.UID, names, ids); err != nil {
			return err
		}
		if err := errors.Join(cleanPath("users: home", u.Home), cleanPath("users: shell", u.Shell)); err != nil {
			return firstOf(err)
		}
		if u.GID != 0 && u.GID != nobody && !slices.ContainsFunc(r.Groups, func(g Group) bool { return g.GID == u.GID }) {
			return fmt.Errorf("users: %s: gid %d is not among groups", u.Name, u.GID)
		}
	}
	names, ids = map[string]bool{"root": true, "nogroup": true}, map[int]bool{0: true, nobody: true}
	for _, g := range r.Groups {
		if err := account("groups", g.Name, g.GID, names, ids); err != nil {
			return err
		}
	}
	return nil
}

const (
	maxID  = 1<<31 - 2
	nobody = 65534
)

func account(list, name string, id int, names map[string]bool, ids map[int]bool) error {
	if err := match(accountForm, list+": name", name, "redis"); err != nil {
		return err
	}
	if id < 0 || id > maxID {
		return fmt.Errorf("%s: %s: id %d: want 0 to %d", list, name, id, maxID)
	}
	if names[name] || ids[id] {
		return fmt.Errorf("%s: %s: its name or id %d is there already", list, name, id)
	}
	names[name], ids[id] = true, true
	return nil
}

// checkOwners wants every owner to be an account of the image, or a number.
func (r *Recipe) checkOwners() error {
	users, groups := []string{"root", "nobody"}, []string{"root", "nogroup"}
	for _, u := range r.Users {
		users = append(users, u.Name)
	}
	for _, g := range r.Groups {
		groups = append(groups, g.Name)
	}
	var errs []error
	for _, d := range r.Directories {
		errs = append(errs, known(d.Path+": owner", d.Owner, "users", users), known(d.Path+": group", d.Group, "groups", groups))
	}
	for _, f := range r.Files {
		errs = append(errs, known(f.Path+": owner", f.Owner, "users", users), known(f.Path+": group", f.Group, "groups", groups))
	}
	if r.OCI != nil {
		user, group, _ := strings.Cut(r.OCI.User, ":")
		errs = append(errs, known("oci: user", user, "users", users), known("oci: user: group", group, "groups", groups))
	}
	return firstOf(errors.Join(errs...))
}

func known(where, name, list string, names []string) error {
	if slices.Contains(names, name) || strings.Trim(name, "0123456789") == "" {
		return nil
	}
	return fmt.Errorf("%s %q is not among %s", where, name, list)
}
