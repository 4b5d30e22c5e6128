package accounts

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// modifyUser sets what the config names and leaves the rest; files of the home
// follow the user's ids.
func (d *Database) modifyUser(u types.PasswdUser) error {
	was, err := d.Lookup(u.Name)
	if err != nil {
		return err
	}
	if err := d.change(func() error { return d.modify(u) }); err != nil {
		return err
	}
	is, err := d.Lookup(u.Name)
	if err != nil {
		return err
	}
	if is.Home != was.Home {
		if err := d.moveHome(was.Home, is.Home); err != nil {
			return fmt.Errorf("home: %w", err)
		}
	}
	if is.UID == was.UID && is.GID == was.GID {
		return nil
	}
	return d.chown(is, was)
}

func (d *Database) modify(u types.PasswdUser) error {
	row := d.passwd.find(u.Name)
	if u.UID != nil && row[2] != strconv.Itoa(*u.UID) {
		if d.passwd.used(2)[*u.UID] {
			return fmt.Errorf("uid %d is %s's", *u.UID, d.passwd.by(2, strconv.Itoa(*u.UID))[0])
		}
		row[2] = strconv.Itoa(*u.UID)
	}
	if util.NotEmpty(u.PrimaryGroup) {
		gid, err := d.primary(*u.PrimaryGroup)
		if err != nil {
			return err
		}
		row[3] = strconv.Itoa(gid)
	}
	for field, value := range map[int]*string{4: u.Gecos, 5: u.HomeDir, 6: u.Shell} {
		if util.NotEmpty(value) {
			row[field] = *value
		}
	}
	if u.PasswordHash != nil {
		d.setPassword(row, *u.PasswordHash)
	}
	if len(u.Groups) == 0 {
		return nil
	}
	return d.join(u.Name, groups(u), true)
}

func (d *Database) setPassword(row []string, hash string) {
	if hash == "" {
		hash = locked
	}
	shadow := d.shadow.find(row[0])
	if shadow == nil {
		row[1] = hash
		return
	}
	row[1], shadow[1], shadow[2] = "x", hash, d.today()
}

// deleteUser also removes its own group, its home and its mail, where they are
// its own.
func (d *Database) deleteUser(name string) error {
	was, err := d.Lookup(name)
	if err != nil {
		return err
	}
	b := begun{User: name, Gone: true}
	if err := d.change(func() error {
		if d.isOwnGroup(was) {
			b.Group = name
		}
		if d.owns(was.Home, was.UID) {
			b.Home = was.Home
		}
		if box := d.mailbox(name); d.owns(box, was.UID) {
			b.Mail = box
		}
		d.forget(b)
		return d.begin(b)
	}); err != nil {
		return err
	}
	return d.takeAway(b)
}

// isOwnGroup says whether the group of a user's name is its primary one and
// nobody else's.
func (d *Database) isOwnGroup(u User) bool {
	row := d.group.find(u.Name)
	others := slices.ContainsFunc(d.passwd.rows, func(r []string) bool {
		return len(r) == d.passwd.fields && r[0] != u.Name && row != nil && r[3] == row[2]
	})
	members := row != nil && without(row[3], u.Name) != ""
	return row != nil && row[2] == strconv.Itoa(u.GID) && !members && d.defs.get("USERGROUPS_ENAB") == "yes" && !others
}
