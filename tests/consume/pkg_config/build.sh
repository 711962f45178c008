core=$(pkg-config --variable=amalgamation kexue)
cc -std=c11 -O2 $CFLAGS $(pkg-config --cflags kexue) ../program.c "$core" $(pkg-config --libs kexue) -o consumer
