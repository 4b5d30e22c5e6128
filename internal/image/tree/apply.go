package tree

import (
	"archive/tar"
	"cmp"
	"fmt"
	"os"
	"strconv"

	"holdfast/internal/image/recipe"
)

// Apply does to a tree of packages what r says: removals first, then
// accounts, directories, files and links, so that each finds what it needs.
func (t *Tree) Apply(r *recipe.Recipe, spool *Spool) error {
	if err := t.Remove(r.Remove...); err != nil {
		return err
	}
	who := newAccounts(r.Users, r.Groups)
	if err := who.write(t); err != nil {
		return err
	}
	for _, d := range r.Directories {
		n := &Node{Type: tar.TypeDir, Mode: uint32(cmp.Or(d.Mode, 0o755))}
		if err := t.putOwned(d.Path, n, who, d.Owner, d.Group); err != nil {
			return fmt.Errorf("directory %w", err)
		}
	}
	for _, f := range r.Files {
		if err := t.putFile(f, r.Dir(), who, spool); err != nil {
			return fmt.Errorf("file %w", err)
		}
	}
	for _, l := range r.Links {
		if err := t.Put(l.Path, &Node{Type: tar.TypeSymlink, Mode: 0o777, Target: l.Target}); err != nil {
			return fmt.Errorf("link %w", err)
		}
	}
	return nil
}

func (t *Tree) putFile(f recipe.File, dir string, who *accounts, spool *Spool) error {
	n := &Node{Type: tar.TypeReg, Mode: uint32(cmp.Or(f.Mode, 0o644))}
	if f.Content != nil {
		n.Content = Bytes([]byte(*f.Content))
		return t.putOwned(f.Path, n, who, f.Owner, f.Group)
	}
	source, err := os.OpenInRoot(dir, f.Source)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if n.Content, err = spool.Add(source, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return t.putOwned(f.Path, n, who, f.Owner, f.Group)
}

func (t *Tree) putOwned(path string, n *Node, who *accounts, owner, group string) (err error) {
	if n.UID, err = who.id(who.uids, owner, "user"); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if n.GID, err = who.id(who.gids, group, "group"); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return t.Put(path, n)
}

// accounts are the users and groups of an image: the recipe's and those that
// every system has.
type accounts struct {
	users      []recipe.User
	groups     []recipe.Group
	uids, gids map[string]int
}

func newAccounts(users []recipe.User, groups []recipe.Group) *accounts {
	a := &accounts{uids: map[string]int{}, gids: map[string]int{}}
	for _, u := range append([]recipe.User{
		{Name: "root", Home: "/root"}, {Name: "nobody", UID: 65534, GID: 65534},
	}, users...) {
		if _, known := a.uids[u.Name]; !known {
			a.users, a.uids[u.Name] = append(a.users, u), u.UID
		}
	}
	for _, g := range append([]recipe.Group{{Name: "root"}, {Name: "nogroup", GID: 65534}}, groups...) {
		if _, known := a.gids[g.Name]; !known {
			a.groups, a.gids[g.Name] = append(a.groups, g), g.GID
		}
	}
	return a
}

// id is the number of a user or group, given by name or already as a number.
func (a *accounts) id(known map[string]int, name, kind string) (int, error) {
	if id, ok := known[cmp.Or(name, "root")]; ok {
		return id, nil
	}
	id, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s %q: not among the recipe's %ss", kind, name, kind)
	}
	return int(id), nil
}

// write makes /etc/passwd, /etc/group and an /etc/shadow in which nobody has
// a password, not even an empty one: passwd(5), group(5), shadow(5).
func (a *accounts) write(t *Tree) error {
	var passwd, group, shadow []byte
	for _, u := range a.users {
		passwd = fmt.Appendf(passwd, "%s:x:%d:%d::%s:%s\n", u.Name, u.UID, u.GID,
			cmp.Or(u.Home, "/nonexistent"), cmp.Or(u.Shell, "/usr/sbin/nologin"))
		shadow = fmt.Appendf(shadow, "%s:!*:::::::\n", u.Name)
	}
	for _, g := range a.groups {
		group = fmt.Appendf(group, "%s:x:%d:\n", g.Name, g.GID)
	}
	for _, f := range []struct {
		path    string
		mode    uint32
		content []byte
	}{{"etc/passwd", 0o644, passwd}, {"etc/group", 0o644, group}, {"etc/shadow", 0o600, shadow}} {
		if err := t.Put(f.path, &Node{Type: tar.TypeReg, Mode: f.mode, Content: Bytes(f.content)}); err != nil {
			return err
		}
	}
	return nil
}
