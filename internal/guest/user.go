package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// A user is whom the workload runs as.
type user struct {
	uid, gid uint32
	groups   []uint32
	home     string
}

// maxAccounts bounds what is read of /etc/passwd and /etc/group.
const maxAccounts = 1 << 20

// lookUp finds the user that an image's config names: USER, UID, USER:GROUP,
// UID:GID and so on (image-spec 1.1, config.User), in the image's own
// accounts. An empty name is root.
func lookUp(t *tree, name string) (user, error) {
	passwd, err := accounts(t, "/etc/passwd", 6)
	if err != nil {
		return user{}, err
	}
	groups, err := accounts(t, "/etc/group", 3)
	if err != nil {
		return user{}, err
	}
	who, group, hasGroup := strings.Cut(name, ":")
	if who == "" {
		who = "0"
	}
	u, account, err := findUser(passwd, who)
	if err != nil {
		return user{}, err
	}
	if hasGroup {
		u.gid, err = findGroup(groups, group)
		return u, err
	}
	for _, g := range groups {
		if id, err := number(g[2]); err == nil && len(g) > 3 && account != "" && slices.Contains(strings.Split(g[3], ","), account) {
			u.groups = append(u.groups, id)
		}
	}
	return u, nil
}

func findUser(passwd [][]string, who string) (u user, account string, err error) {
	for _, p := range passwd {
		if p[0] != who && p[2] != who {
			continue
		}
		if u.uid, err = number(p[2]); err != nil {
			return u, "", fmt.Errorf("user %q: %w", who, err)
		}
		if u.gid, err = number(p[3]); err != nil {
			return u, "", fmt.Errorf("user %q: %w", who, err)
		}
		u.home = p[5]
		return u, p[0], nil
	}
	if u.uid, err = number(who); err != nil {
		return u, "", fmt.Errorf("the image has no user %q", who)
	}
	return u, "", nil
}

func findGroup(groups [][]string, name string) (uint32, error) {
	for _, g := range groups {
		if g[0] == name {
			return number(g[2])
		}
	}
	id, err := number(name)
	if err != nil {
		return 0, fmt.Errorf("the image has no group %q", name)
	}
	return id, nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err
}

// accounts reads the lines of at least fields fields. An image need not have
// the file.
func accounts(t *tree, name string, fields int) (lines [][]string, err error) {
	b, err := t.read(name, maxAccounts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for line := range strings.Lines(string(b)) {
		if parts := strings.Split(strings.TrimSpace(line), ":"); len(parts) >= fields {
			lines = append(lines, parts)
		}
	}
	return lines, err
}
