package accounts

import (
	"errors"
	"fmt"
	"path"
	"strconv"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// locked is the password of who may not log in by one.
const locked = "*"

// EnsureUser makes, changes or deletes a user with its home.
func (d *Database) EnsureUser(u types.PasswdUser) error {
	if err := d.takeBack(); err != nil {
		return err
	}
	_, err := d.Lookup(u.Name)
	var unknown *UnknownError
	exists := err == nil
	if err != nil && !errors.As(err, &unknown) {
		return err
	}
	switch {
	case util.IsFalse(u.ShouldExist) && !exists:
		return nil
	case util.IsFalse(u.ShouldExist):
		return d.deleteUser(u.Name)
	case exists:
		return d.modifyUser(u)
	}
	return d.addUser(u)
}

func (d *Database) addUser(u types.PasswdUser) error {
	var home string
	if err := d.change(func() error {
		uid, gid, err := d.newIDs(u)
		if err != nil {
			return err
		}
		if home = path.Join(d.defs.get("HOME"), u.Name); util.NotEmpty(u.HomeDir) {
			home = *u.HomeDir
		}
		shell := d.defs.get("SHELL")
		if util.NotEmpty(u.Shell) {
			shell = *u.Shell
		}
		d.passwd.add(u.Name, d.putPassword(u), strconv.Itoa(uid), strconv.Itoa(gid), text(u.Gecos), home, shell)
		d.subordinate(u, uid)
		if err := d.join(u.Name, groups(u), false); err != nil {
			return err
		}
		return d.beginUser(u, home)
	}); err != nil {
		return err
	}
	if util.IsTrue(u.NoCreateHome) {
		return d.end()
	}
	added, err := d.Lookup(u.Name)
	if err != nil {
		return err
	}
	if err := d.makeHome(added); err != nil {
		return fmt.Errorf("home %s: %w", home, err)
	}
	return errors.Join(d.makeMailbox(added), d.end())
}

// beginUser is called when all is decided, and nothing written.
func (d *Database) beginUser(u types.PasswdUser, home string) error {
	b := begun{User: u.Name}
	if d.hasOwnGroup(u) {
		b.Group = u.Name
	}
	if !util.IsTrue(u.NoCreateHome) {
		there, err := d.isThere(home)
		if err != nil {
			return fmt.Errorf("home %s: %w", home, err)
		}
		if !there {
			b.Home = home
		}
		b.Mail = d.newMailbox(u.Name)
	}
	return d.begin(b)
}

func (d *Database) hasOwnGroup(u types.PasswdUser) bool {
	return !util.NotEmpty(u.PrimaryGroup) && !util.IsTrue(u.NoUserGroup) && d.defs.get("USERGROUPS_ENAB") == "yes"
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func groups(u types.PasswdUser) []string {
	names := make([]string, len(u.Groups))
	for i, g := range u.Groups {
		names[i] = string(g)
	}
	return names
}

// newIDs also makes the group of the user's own, when it has one: of the same
// number, where that is free.
func (d *Database) newIDs(u types.PasswdUser) (uid, gid int, err error) {
	used := d.passwd.used(2)
	switch {
	case u.UID == nil:
		uid, err = d.free("UID", util.IsTrue(u.System), used)
	case used[*u.UID]:
		err = fmt.Errorf("uid %d is %s's", *u.UID, d.passwd.by(2, strconv.Itoa(*u.UID))[0])
	default:
		uid = *u.UID
	}
	if err != nil {
		return 0, 0, err
	}
	switch {
	case util.NotEmpty(u.PrimaryGroup):
		gid, err = d.primary(*u.PrimaryGroup)
	case d.hasOwnGroup(u):
		gid, err = d.ownGroup(u, uid)
	default:
		gid, err = d.usual()
	}
	return uid, gid, err
}

// primary takes a name or a number.
func (d *Database) primary(group string) (int, error) {
	row := d.group.find(group)
	if row == nil {
		row = d.group.by(2, group)
	}
	if row == nil {
		return 0, &UnknownError{"group", group}
	}
	return strconv.Atoi(row[2])
}

// usual is the group of users without one of their own; its number needs no
// group.
func (d *Database) usual() (int, error) {
	group := d.defs.get("GROUP")
	if gid, err := strconv.Atoi(group); err == nil {
		return gid, nil
	}
	return d.primary(group)
}

func (d *Database) ownGroup(u types.PasswdUser, uid int) (int, error) {
	if d.group.find(u.Name) != nil {
		return 0, fmt.Errorf("group %q exists already: give primaryGroup or noUserGroup", u.Name)
	}
	used, gid, most := d.group.used(2), uid, "GID_MAX"
	if util.IsTrue(u.System) {
		most = "SYS_GID_MAX"
	}
	if uid < 1 || uid > d.defs.number(most) || used[uid] {
		var err error
		if gid, err = d.free("GID", util.IsTrue(u.System), used); err != nil {
			return 0, err
		}
	}
	d.putGroup(u.Name, "!", gid)
	return gid, nil
}

// putPassword keeps it apart where the root does so, and tells passwd's field.
func (d *Database) putPassword(u types.PasswdUser) string {
	password := locked
	if util.NotEmpty(u.PasswordHash) {
		password = *u.PasswordHash
	}
	if !d.shadow.there {
		return password
	}
	least, most, warn := d.defs.get("PASS_MIN_DAYS"), d.defs.get("PASS_MAX_DAYS"), d.defs.get("PASS_WARN_AGE")
	if util.IsTrue(u.System) {
		least, most, warn = "", "", ""
	}
	d.shadow.add(u.Name, password, d.today(), least, most, warn, d.defs.get("INACTIVE"), d.defs.get("EXPIRE"), "")
	return "x"
}

// subordinate gives ids for containers, to people only.
func (d *Database) subordinate(u types.PasswdUser, uid int) {
	if util.IsTrue(u.System) || uid < d.defs.number("UID_MIN") || uid > d.defs.number("UID_MAX") {
		return
	}
	for kind, t := range map[string]*table{"SUB_UID": d.subuid, "SUB_GID": d.subgid} {
		if !t.there {
			continue
		}
		if start, count, ok := d.spare(kind, t); ok {
			t.add(u.Name, strconv.Itoa(start), strconv.Itoa(count))
		}
	}
}
