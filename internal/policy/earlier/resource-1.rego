# The resource policy: may this machine have this resource?
#
# It is asked at each request. Its input and data have the shape that Trustee
# gives its resource policies (kbs/docs), so that a policy can move over.
#
# input     the claims of the attestation token (EAR): submods.cpu0 has
#           "ear.status" and "ear.veraison.annotated-evidence", in which
#           init_data_digest is the digest of the machine's configuration
#
# data
#   plugin           "resource"
#   resource-path    ["default", "key", "x"]
#   query            the URL's query: name → value
#   configurations   authorised ones, as of now: "sha256:…" → {resources: ["default/key/x", …]}
#
# output
#   allow, reasons   as in the attestation policy
package policy

import rego.v1

default allow := false

allow if {
	count(reasons) == 0
	data.plugin == "resource"
	affirming
	path in data.configurations[digest].resources
}

path := concat("/", data["resource-path"])

digest := input.submods.cpu0["ear.veraison.annotated-evidence"].init_data_digest

# Every device that was attested must be affirmed, not only the processor.
affirming if {
	count(input.submods) > 0
	every submod in input.submods {
		submod["ear.status"] == "affirming"
	}
}

# — reasons —

reasons contains "the token affirms no machine" if not affirming

reasons contains sprintf("configuration %s is not authorised any more", [digest]) if not data.configurations[digest]

reasons contains sprintf("configuration %s may not have resource %s", [digest, path]) if {
	some_configuration
	not path in data.configurations[digest].resources
}

some_configuration if data.configurations[digest]
