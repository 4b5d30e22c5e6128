# Resources of other kinds than bytes: who may have one may use it where it is
# kept. Its path stands behind what the plugin shall do:
# ["unwrap-key", "default", "key", "x"].
package policy

import rego.v1

uses := {
	"pkcs11": "unwrap-key", # opens a packet with a key in the HSM
	"spiffe": "svid", # gives a certificate in the resource's name
}

granted if {
	data["resource-path"][0] == uses[data.plugin]
	count(data["resource-path"]) == 4
	affirming
	current
	concat("/", array.slice(data["resource-path"], 1, 4)) in data.configurations[digest].resources
}
