package accounts

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// EnsureGroup makes, changes or deletes a group.
func (d *Database) EnsureGroup(g types.PasswdGroup) error {
	return d.change(func() error {
		row := d.group.find(g.Name)
		switch {
		case util.IsFalse(g.ShouldExist) && row == nil:
			return nil
		case util.IsFalse(g.ShouldExist):
			return d.deleteGroup(row)
		case row == nil:
			return d.addGroup(g)
		}
		return d.modifyGroup(row, g)
	})
}

func (d *Database) addGroup(g types.PasswdGroup) error {
	gid, err := d.newGroupID(g)
	if err != nil {
		return err
	}
	password := "!"
	if util.NotEmpty(g.PasswordHash) {
		password = *g.PasswordHash
	}
	d.putGroup(g.Name, password, gid)
	return nil
}

// putGroup keeps the password apart where the root does so.
func (d *Database) putGroup(name, password string, gid int) {
	if d.gshadow.there {
		d.gshadow.add(name, password, "", "")
		password = "x"
	}
	d.group.add(name, password, strconv.Itoa(gid), "")
}

func (d *Database) newGroupID(g types.PasswdGroup) (int, error) {
	used := d.group.used(2)
	if g.Gid == nil {
		return d.free("GID", util.IsTrue(g.System), used)
	}
	if used[*g.Gid] {
		return 0, fmt.Errorf("gid %d is %s's", *g.Gid, d.group.by(2, strconv.Itoa(*g.Gid))[0])
	}
	return *g.Gid, nil
}

func (d *Database) modifyGroup(row []string, g types.PasswdGroup) error {
	if g.Gid != nil && row[2] != strconv.Itoa(*g.Gid) {
		gid, err := d.newGroupID(g)
		if err != nil {
			return err
		}
		for _, user := range d.passwd.rows {
			if len(user) == d.passwd.fields && user[3] == row[2] {
				user[3] = strconv.Itoa(gid)
			}
		}
		row[2] = strconv.Itoa(gid)
	}
	if !util.NotEmpty(g.PasswordHash) {
		return nil
	}
	if shadow := d.gshadow.find(g.Name); shadow != nil {
		shadow[1] = *g.PasswordHash
		row[1] = "x"
		return nil
	}
	row[1] = *g.PasswordHash
	return nil
}

func (d *Database) deleteGroup(row []string) error {
	if user := d.passwd.by(3, row[2]); user != nil {
		return fmt.Errorf("it is the primary group of user %q", user[0])
	}
	d.group.remove(row[0])
	d.gshadow.remove(row[0])
	return nil
}

// join adds a user to the groups, and takes it out of all others when only.
func (d *Database) join(user string, groups []string, only bool) error {
	for _, g := range groups {
		if d.group.find(g) == nil {
			return &UnknownError{"group", g}
		}
	}
	for _, t := range []*table{d.group, d.gshadow} {
		for _, row := range t.rows {
			if len(row) != t.fields {
				continue
			}
			if slices.Contains(groups, row[0]) {
				row[3] = with(row[3], user)
			} else if only {
				row[3] = without(row[3], user)
			}
		}
	}
	return nil
}

func with(list, name string) string {
	if list == "" {
		return name
	}
	if slices.Contains(strings.Split(list, ","), name) {
		return list
	}
	return list + "," + name
}

func without(list, name string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == name }), ",")
}
