# bashrc
